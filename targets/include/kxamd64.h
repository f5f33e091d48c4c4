// Assembly: how a function begins and ends.
#include "ksamd64.h"
    .intel_syntax noprefix

.macro LEAF name
    .globl \name
    .def \name
    .scl 2
    .type 32
    .endef
    .p2align 4, 0xCC
\name:
.endm

.macro PROC name
    LEAF \name
    .seh_proc \name
.endm

.macro ENDPROC name
    .seh_endproc
.endm

.macro EXPORT name
    .pushsection .drectve, "yni"
    .ascii " /EXPORT:\name"
    .popsection
.endm

// The non-volatile registers, as a KEXCEPTION_FRAME at RSP.
.macro GENERATE_EXCEPTION_FRAME length
    sub rsp, \length
    .seh_stackalloc \length
    mov [rsp+ExRbp], rbp
    .seh_savereg rbp, ExRbp
    mov [rsp+ExRbx], rbx
    .seh_savereg rbx, ExRbx
    mov [rsp+ExRdi], rdi
    .seh_savereg rdi, ExRdi
    mov [rsp+ExRsi], rsi
    .seh_savereg rsi, ExRsi
    mov [rsp+ExR12], r12
    .seh_savereg r12, ExR12
    mov [rsp+ExR13], r13
    .seh_savereg r13, ExR13
    mov [rsp+ExR14], r14
    .seh_savereg r14, ExR14
    mov [rsp+ExR15], r15
    .seh_savereg r15, ExR15
    movaps [rsp+ExXmm6], xmm6
    .seh_savexmm xmm6, ExXmm6
    movaps [rsp+ExXmm7], xmm7
    .seh_savexmm xmm7, ExXmm7
    movaps [rsp+ExXmm8], xmm8
    .seh_savexmm xmm8, ExXmm8
    movaps [rsp+ExXmm9], xmm9
    .seh_savexmm xmm9, ExXmm9
    movaps [rsp+ExXmm10], xmm10
    .seh_savexmm xmm10, ExXmm10
    movaps [rsp+ExXmm11], xmm11
    .seh_savexmm xmm11, ExXmm11
    movaps [rsp+ExXmm12], xmm12
    .seh_savexmm xmm12, ExXmm12
    movaps [rsp+ExXmm13], xmm13
    .seh_savexmm xmm13, ExXmm13
    movaps [rsp+ExXmm14], xmm14
    .seh_savexmm xmm14, ExXmm14
    movaps [rsp+ExXmm15], xmm15
    .seh_savexmm xmm15, ExXmm15
    .seh_endprologue
.endm

.macro RESTORE_EXCEPTION_FRAME length
    movaps xmm6, [rsp+ExXmm6]
    movaps xmm7, [rsp+ExXmm7]
    movaps xmm8, [rsp+ExXmm8]
    movaps xmm9, [rsp+ExXmm9]
    movaps xmm10, [rsp+ExXmm10]
    movaps xmm11, [rsp+ExXmm11]
    movaps xmm12, [rsp+ExXmm12]
    movaps xmm13, [rsp+ExXmm13]
    movaps xmm14, [rsp+ExXmm14]
    movaps xmm15, [rsp+ExXmm15]
    mov rbp, [rsp+ExRbp]
    mov rbx, [rsp+ExRbx]
    mov rdi, [rsp+ExRdi]
    mov rsi, [rsp+ExRsi]
    mov r12, [rsp+ExR12]
    mov r13, [rsp+ExR13]
    mov r14, [rsp+ExR14]
    mov r15, [rsp+ExR15]
    add rsp, \length
.endm
