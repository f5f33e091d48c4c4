// Thread switch and thread start.
#include "kxamd64.h"
    .text

// VOID KiSwapContext(PKTHREAD OldThread, PKTHREAD NewThread)
//
// Returns when the old thread runs again. The dispatcher lock stays held throughout.
PROC KiSwapContext
    GENERATE_EXCEPTION_FRAME 0x138
    mov rdi, rcx
    mov rsi, rdx
    call SwapContext
    RESTORE_EXCEPTION_FRAME 0x138
    ret
ENDPROC KiSwapContext

// RDI old thread, RSI new thread. The stack pointer kept in KTHREAD.KernelStack points at a
// KSWITCH_FRAME: five home slots, control bits, RBP and the return address.
PROC SwapContext
    push rbp
    .seh_pushreg rbp
    sub rsp, 0x30
    .seh_stackalloc 0x30
    .seh_endprologue
    mov [rdi+ThKernelStack], rsp
    mov rsp, [rsi+ThKernelStack]

    mov rax, [rsi+ThApcStateProcess]
    cmp rax, [rdi+ThApcStateProcess]
    je 1f
    mov rax, [rax+PrDirectoryTableBase]
    mov cr3, rax
1:
    mov rax, [rsi+ThInitialStack]
    mov rcx, gs:[PcTss]
    mov [rcx+TssRsp0], rax
    mov rcx, gs:[PcCurrentPrcb]
    mov [rcx+PbRspBase], rax
    mov [rcx+PbCurrentThread], rsi
    inc dword ptr [rcx+PbContextSwitches]
    inc dword ptr [rsi+ThContextSwitches]

    add rsp, 0x30
    pop rbp
    ret
ENDPROC SwapContext

// A new thread's first instruction: RSP points at its KSTART_FRAME, whose return address is zero.
.macro START_THREAD name
PROC \name
    .seh_stackalloc 0x20
    .seh_endprologue
    mov rbx, [rsp]
    mov rdi, [rsp+0x08]
    mov rsi, [rsp+0x10]
    call KiReleaseDispatcherLock
    xor ecx, ecx
    call KeLowerIrql
    mov rcx, rdi
    mov rdx, rsi
    call rbx
    int 3
ENDPROC \name
.endm

START_THREAD KiStartSystemThread
START_THREAD KiStartUserThread
