// Where the loader and the other processors enter, and descriptor tables.
#include "kxamd64.h"
    .text

// VOID KiSystemStartup(PKDSIM_LOADER_BLOCK LoaderBlock), on an empty stack. The zero above the
// frame ends every stack walk.
PROC KiSystemStartup
    sub rsp, 0x40
    .seh_stackalloc 0x38
    .seh_endprologue
    mov qword ptr [rsp+0x38], 0
    call KiInitializeBootProcessor
    int 3
ENDPROC KiSystemStartup

// VOID KiStartProcessor(PKDSIM_PROCESSOR Processor), on an empty stack.
PROC KiStartProcessor
    sub rsp, 0x40
    .seh_stackalloc 0x38
    .seh_endprologue
    mov qword ptr [rsp+0x38], 0
    call KiInitializeProcessor
    int 3
ENDPROC KiStartProcessor

// VOID KiLoadDescriptorTables(PKDESCRIPTOR Gdt, PKDESCRIPTOR Idt, USHORT Tss): both descriptors as
// LGDT wants them. Leaves Windows' kernel selectors in every segment register.
LEAF KiLoadDescriptorTables
    lgdt [rcx]
    lidt [rdx]
    ltr r8w
    mov eax, 0x2B
    mov ds, eax
    mov es, eax
    mov gs, eax
    mov eax, 0x53
    mov fs, eax
    mov eax, 0x18
    mov ss, eax
    pop rax
    push 0x10
    push rax
    retfq

// VOID HalProcessorIdle(VOID): wait for an interrupt.
LEAF HalProcessorIdle
    sti
    hlt
    ret

// ULONG64 HalpMachineCall(ULONG Service, A1, A2, A3, A4)
LEAF HalpMachineCall
    mov eax, ecx
    mov rcx, rdx
    mov rdx, r8
    mov r8, r9
    mov r9, [rsp+0x28]
    int 0x81
    ret
