// Break points, the debug service, and register capture.
#include "kxamd64.h"
    .text

LEAF DbgBreakPoint
    EXPORT DbgBreakPoint
    int 3
    ret

// The status stays in ECX for the debugger.
LEAF DbgBreakPointWithStatus
    EXPORT DbgBreakPointWithStatus
    .globl RtlpBreakWithStatusInstruction
    .def RtlpBreakWithStatusInstruction
    .scl 2
    .type 32
    .endef
RtlpBreakWithStatusInstruction:
    int 3
    ret

// ULONG DebugPrint(PSTRING Output, ULONG ComponentId, ULONG Level)
LEAF DebugPrint
    mov r9d, r8d
    mov r8d, edx
    movzx edx, word ptr [rcx]
    mov rcx, [rcx+8]
    mov eax, 1
    int 0x2D
    int 3
    ret

// VOID DebugService2(PVOID Argument1, PVOID Argument2, ULONG Service)
LEAF DebugService2
    mov eax, r8d
    int 0x2D
    int 3
    ret

// VOID RtlCaptureContext(PCONTEXT Context): the caller's registers as they are after the return.
PROC RtlCaptureContext
    EXPORT RtlCaptureContext
    pushfq
    .seh_stackalloc 8
    .seh_endprologue
    mov [rcx+CxRax], rax
    mov [rcx+CxRcx], rcx
    mov [rcx+CxRdx], rdx
    mov [rcx+CxRbx], rbx
    mov [rcx+CxRbp], rbp
    mov [rcx+CxRsi], rsi
    mov [rcx+CxRdi], rdi
    mov [rcx+CxR8], r8
    mov [rcx+CxR9], r9
    mov [rcx+CxR10], r10
    mov [rcx+CxR11], r11
    mov [rcx+CxR12], r12
    mov [rcx+CxR13], r13
    mov [rcx+CxR14], r14
    mov [rcx+CxR15], r15
    mov [rcx+CxSegCs], cs
    mov [rcx+CxSegDs], ds
    mov [rcx+CxSegEs], es
    mov [rcx+CxSegFs], fs
    mov [rcx+CxSegGs], gs
    mov [rcx+CxSegSs], ss
    fxsave [rcx+CxFltSave]
    stmxcsr [rcx+CxMxCsr]
    lea rax, [rsp+0x10]
    mov [rcx+CxRsp], rax
    mov rax, [rsp+8]
    mov [rcx+CxRip], rax
    mov eax, [rsp]
    mov [rcx+CxEFlags], eax
    mov dword ptr [rcx+CxContextFlags], 0x10000F
    add rsp, 8
    ret
ENDPROC RtlCaptureContext
