// Exception and interrupt entries. Each builds a KTRAP_FRAME; its unwind data begins with the machine
// frame, so a stack walk crosses into the interrupted code.
#include "kxamd64.h"
    .text

.macro SAVE_VOLATILE
    mov [rsp+TrRax], rax
    mov [rsp+TrRcx], rcx
    mov [rsp+TrRdx], rdx
    mov [rsp+TrR8], r8
    mov [rsp+TrR9], r9
    mov [rsp+TrR10], r10
    mov [rsp+TrR11], r11
    movups [rsp+TrXmm0], xmm0
    movups [rsp+TrXmm1], xmm1
    movups [rsp+TrXmm2], xmm2
    movups [rsp+TrXmm3], xmm3
    movups [rsp+TrXmm4], xmm4
    movups [rsp+TrXmm5], xmm5
    stmxcsr [rsp+TrMxCsr]
    mov rax, cr8
    mov [rsp+TrPreviousIrql], al
    cld
    test byte ptr [rsp+TrSegCs], 1
    jz 1f
    swapgs
1:
.endm

// code: 1 when the processor pushes an error code
.macro ENTER_TRAP name, code=0
    PROC \name
  .if \code
    .seh_pushframe @code
  .else
    .seh_pushframe
    sub rsp, 8
    .seh_stackalloc 8
  .endif
    push rbp
    .seh_pushreg rbp
    sub rsp, 0x158
    .seh_stackalloc 0x158
    lea rbp, [rsp+0x80]
    .seh_setframe rbp, 0x80
    .seh_endprologue
    SAVE_VOLATILE
.endm

.macro EXIT_TRAP name
    cli
    test byte ptr [rsp+TrSegCs], 1
    jz 1f
    swapgs
1:
    ldmxcsr [rsp+TrMxCsr]
    movups xmm0, [rsp+TrXmm0]
    movups xmm1, [rsp+TrXmm1]
    movups xmm2, [rsp+TrXmm2]
    movups xmm3, [rsp+TrXmm3]
    movups xmm4, [rsp+TrXmm4]
    movups xmm5, [rsp+TrXmm5]
    mov r11, [rsp+TrR11]
    mov r10, [rsp+TrR10]
    mov r9, [rsp+TrR9]
    mov r8, [rsp+TrR8]
    mov rdx, [rsp+TrRdx]
    mov rcx, [rsp+TrRcx]
    mov rax, [rsp+TrRax]
    add rsp, 0x158
    pop rbp
    add rsp, 8
    iretq
    ENDPROC \name
.endm

// Let interrupts in again when the interrupted code had them on.
.macro RESTORE_INTERRUPTS
    test dword ptr [rsp+TrEFlags], 0x200
    jz 2f
    sti
2:
.endm

// An exception that is handed to the dispatcher without parameters.
.macro EXCEPTION name, status, code=0
    ENTER_TRAP \name, \code
    RESTORE_INTERRUPTS
    mov ecx, \status
    xor edx, edx
    mov r8, [rsp+TrRip]
    xor r9d, r9d
    xor r10d, r10d
    call KiExceptionDispatch
    EXIT_TRAP \name
.endm

// An exception nobody survives: bug check 0x7F with the vector.
.macro ABORT name, vector, code=0
    ENTER_TRAP \name, \code
    mov ecx, 0x7F
    mov edx, \vector
    mov r8, [rsp+TrErrorCode]
    mov r9, [rsp+TrEFlags]
    mov r10, [rsp+TrRip]
    call KiBugCheckDispatch
    EXIT_TRAP \name
.endm

EXCEPTION KiDivideErrorFault, 0xC0000094
EXCEPTION KiDebugTrapOrFault, 0x80000004
ABORT KiNmiInterrupt, 2
EXCEPTION KiOverflowTrap, 0xC0000095
EXCEPTION KiBoundFault, 0xC000008C
EXCEPTION KiInvalidOpcodeFault, 0xC000001D
ABORT KiNpxNotAvailableFault, 7
ABORT KiDoubleFaultAbort, 8, 1
ABORT KiNpxSegmentOverrunAbort, 9
ABORT KiInvalidTssFault, 10, 1
ABORT KiSegmentNotPresentFault, 11, 1
ABORT KiStackFault, 12, 1
EXCEPTION KiFloatingErrorFault, 0xC0000090
EXCEPTION KiAlignmentFault, 0x80000002, 1
ABORT KiMcheckAbort, 18
EXCEPTION KiXmmException, 0xC0000090
EXCEPTION KiRaiseSecurityCheckFailure, 0xC0000409
EXCEPTION KiRaiseAssertion, 0xC0000420
ABORT KiUnexpectedInterrupt, 0xFF

// RIP is after the int 3; the exception's address is the int 3.
ENTER_TRAP KiBreakpointTrap
    RESTORE_INTERRUPTS
    dec qword ptr [rsp+TrRip]
    mov ecx, 0x80000003
    mov edx, 1
    mov r8, [rsp+TrRip]
    xor r9d, r9d
    xor r10d, r10d
    call KiExceptionDispatch
EXIT_TRAP KiBreakpointTrap

// No debugger took the request: skip the int 3 behind it and report failure.
ENTER_TRAP KiDebugServiceTrap
    inc qword ptr [rsp+TrRip]
    mov qword ptr [rsp+TrRax], 0
EXIT_TRAP KiDebugServiceTrap

// Windows reports every kernel #GP as an access violation at an unknown address.
ENTER_TRAP KiGeneralProtectionFault, 1
    RESTORE_INTERRUPTS
    mov ecx, 0xC0000005
    mov edx, 2
    mov r8, [rsp+TrRip]
    xor r9d, r9d
    mov r10, -1
    call KiExceptionDispatch
EXIT_TRAP KiGeneralProtectionFault

ENTER_TRAP KiPageFault, 1
    mov rdx, cr2
    mov [rsp+TrFaultAddress], rdx
    RESTORE_INTERRUPTS
    mov rcx, [rsp+TrErrorCode]
    mov r8d, [rsp+TrSegCs]
    and r8d, 1
    mov r9, rsp
    call MmAccessFault
    test eax, eax
    jns 3f
    mov r10, [rsp+TrErrorCode]      // parameter 0: 0 read, 1 write, 8 execute
    shr r10d, 1
    and r10d, 9
    cmp eax, 0xD0000006             // too high an IRQL to take a fault
    je 4f
    mov ecx, eax
    mov edx, 2
    mov r8, [rsp+TrRip]
    mov r9, r10
    mov r10, [rsp+TrFaultAddress]
    call KiExceptionDispatch
    jmp 3f
4:
    mov ecx, 0x0A
    mov rdx, [rsp+TrFaultAddress]
    movzx r8d, byte ptr [rsp+TrPreviousIrql]
    mov r9, r10
    mov r10, [rsp+TrRip]
    call KiBugCheckDispatch
3:
EXIT_TRAP KiPageFault

// VOID KiExceptionDispatch(ECX code, EDX parameter count, R8 address, R9, R10 parameters),
// called with RBP pointing into the trap frame. Registers the debugger changed take effect.
PROC KiExceptionDispatch
    GENERATE_EXCEPTION_FRAME 0x1D8
    lea rax, [rsp+ExceptionFrameLength]
    mov [rax+ErExceptionCode], ecx
    mov dword ptr [rax+ErExceptionFlags], 0
    mov qword ptr [rax+ErExceptionRecord], 0
    mov [rax+ErExceptionAddress], r8
    mov [rax+ErNumberParameters], edx
    mov [rax+ErExceptionInformation], r9
    mov [rax+ErExceptionInformation+8], r10
    mov rcx, rax
    mov rdx, rsp
    lea r8, [rbp-0x80]
    mov r9b, [rbp-0x80+TrSegCs]
    and r9b, 1
    mov byte ptr [rsp+0x20], 1
    call KiDispatchException
    RESTORE_EXCEPTION_FRAME 0x1D8
    ret
ENDPROC KiExceptionDispatch

// VOID KiBugCheckDispatch(ECX code, RDX, R8, R9, R10 parameters): does not return.
PROC KiBugCheckDispatch
    GENERATE_EXCEPTION_FRAME 0x138
    mov [rsp+0x20], r10
    call KeBugCheckEx
    int 3
ENDPROC KiBugCheckDispatch

// The clock.
ENTER_TRAP KiInterruptDispatchNoLockNoEtw
    mov rcx, rsp
    call KiInterruptSubDispatchNoLockNoEtw
EXIT_TRAP KiInterruptDispatchNoLockNoEtw

ENTER_TRAP KiIpiInterrupt
    mov rcx, rsp
    call KiIpiInterruptSubDispatch
EXIT_TRAP KiIpiInterrupt

// Device interrupts: the thunk of a vector pushes it where an error code would stand.
    .globl KiIsrThunk
    .p2align 4
KiIsrThunk:
    .set vector, 0
    .rept 256
    .byte 0x6A, vector
    push rbp
    .byte 0xE9
    .long KiIsrLinkage - (. + 4)
    .set vector, vector + 1
    .endr

PROC KiIsrLinkage
    .seh_pushframe @code
    .seh_pushreg rbp
    sub rsp, 0x158
    .seh_stackalloc 0x158
    lea rbp, [rsp+0x80]
    .seh_setframe rbp, 0x80
    .seh_endprologue
    SAVE_VOLATILE
    mov rcx, rsp
    call KiInterruptDispatch
EXIT_TRAP KiIsrLinkage
