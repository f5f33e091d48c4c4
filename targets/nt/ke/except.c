// Exceptions: from trap frames to a context record, to the debugger, to a bug check.
#include "ki.h"

#define CONTEXT_FULL_AMD64 0x10000F
#define KMODE_EXCEPTION_NOT_HANDLED 0x1E

VOID KeContextFromKframes(PKTRAP_FRAME TrapFrame, PKEXCEPTION_FRAME ExceptionFrame,
                          PCONTEXT Context)
{
    memset(Context, 0, sizeof(*Context));
    Context->ContextFlags = CONTEXT_FULL_AMD64;
    Context->Rax = TrapFrame->Rax;
    Context->Rcx = TrapFrame->Rcx;
    Context->Rdx = TrapFrame->Rdx;
    Context->R8 = TrapFrame->R8;
    Context->R9 = TrapFrame->R9;
    Context->R10 = TrapFrame->R10;
    Context->R11 = TrapFrame->R11;
    Context->Rbp = TrapFrame->Rbp;
    Context->Rsp = TrapFrame->Rsp;
    Context->Rip = TrapFrame->Rip;
    Context->EFlags = TrapFrame->EFlags;
    Context->SegCs = TrapFrame->SegCs;
    Context->SegSs = TrapFrame->SegSs;
    Context->SegDs = Context->SegEs = Context->SegGs = KGDT64_R3_DATA | 3;
    Context->SegFs = KGDT64_R3_CMTEB | 3;
    Context->MxCsr = TrapFrame->MxCsr;
    Context->FltSave.MxCsr = TrapFrame->MxCsr;
    memcpy(&Context->Xmm0, &TrapFrame->Xmm0, 6 * sizeof(M128A));
    if (ExceptionFrame) {
        Context->Rbx = ExceptionFrame->Rbx;
        Context->Rsi = ExceptionFrame->Rsi;
        Context->Rdi = ExceptionFrame->Rdi;
        Context->R12 = ExceptionFrame->R12;
        Context->R13 = ExceptionFrame->R13;
        Context->R14 = ExceptionFrame->R14;
        Context->R15 = ExceptionFrame->R15;
        memcpy(&Context->Xmm6, &ExceptionFrame->Xmm6, 10 * sizeof(M128A));
    }
}

VOID KeContextToKframes(PKTRAP_FRAME TrapFrame, PKEXCEPTION_FRAME ExceptionFrame, PCONTEXT Context)
{
    TrapFrame->Rax = Context->Rax;
    TrapFrame->Rcx = Context->Rcx;
    TrapFrame->Rdx = Context->Rdx;
    TrapFrame->R8 = Context->R8;
    TrapFrame->R9 = Context->R9;
    TrapFrame->R10 = Context->R10;
    TrapFrame->R11 = Context->R11;
    TrapFrame->Rbp = Context->Rbp;
    TrapFrame->Rsp = Context->Rsp;
    TrapFrame->Rip = Context->Rip;
    TrapFrame->EFlags = Context->EFlags;
    memcpy(&TrapFrame->Xmm0, &Context->Xmm0, 6 * sizeof(M128A));
    ExceptionFrame->Rbx = Context->Rbx;
    ExceptionFrame->Rsi = Context->Rsi;
    ExceptionFrame->Rdi = Context->Rdi;
    ExceptionFrame->R12 = Context->R12;
    ExceptionFrame->R13 = Context->R13;
    ExceptionFrame->R14 = Context->R14;
    ExceptionFrame->R15 = Context->R15;
    memcpy(&ExceptionFrame->Xmm6, &Context->Xmm6, 10 * sizeof(M128A));
}

// The one handler there is: a system thread's outermost, whose filter bug checks with 7E.
static VOID RtlDispatchException(PEXCEPTION_RECORD Record, PCONTEXT Context)
{
    EXCEPTION_POINTERS Pointers = {Record, Context};

    if (KeGetCurrentThread()->SystemThread && KeGetCurrentIrql() < DISPATCH_LEVEL)
        PspUnhandledExceptionInSystemThread(&Pointers);
}

// First chance: the debugger, then handlers. Second chance: the debugger. Then the end.
VOID KiDispatchException(PEXCEPTION_RECORD Record, PKEXCEPTION_FRAME ExceptionFrame,
                         PKTRAP_FRAME TrapFrame, KPROCESSOR_MODE Mode, BOOLEAN FirstChance)
{
    CONTEXT Context;

    KeGetCurrentPrcb()->KeExceptionDispatchCount++;
    KeContextFromKframes(TrapFrame, ExceptionFrame, &Context);
    if (!KdTrap(TrapFrame, ExceptionFrame, Record, &Context, Mode, FALSE)) {
        RtlDispatchException(Record, &Context);
        if (!KdTrap(TrapFrame, ExceptionFrame, Record, &Context, Mode, TRUE))
            KeBugCheckEx(KMODE_EXCEPTION_NOT_HANDLED, (ULONG_PTR)Record->ExceptionCode,
                         (ULONG_PTR)Record->ExceptionAddress, Record->ExceptionInformation[0],
                         Record->ExceptionInformation[1]);
    }
    KeContextToKframes(TrapFrame, ExceptionFrame, &Context);
}

VOID KiSaveProcessorControlState(PKPROCESSOR_STATE State)
{
    PKSPECIAL_REGISTERS Special = &State->SpecialRegisters;

    __asm__ volatile("mov %%cr0, %0" : "=r"(Special->Cr0));
    __asm__ volatile("mov %%cr2, %0" : "=r"(Special->Cr2));
    __asm__ volatile("mov %%cr3, %0" : "=r"(Special->Cr3));
    __asm__ volatile("mov %%cr4, %0" : "=r"(Special->Cr4));
    Special->Cr8 = __readcr8();
    __asm__ volatile("sgdt %0" : "=m"(Special->Gdtr.Limit));
    __asm__ volatile("sidt %0" : "=m"(Special->Idtr.Limit));
    __asm__ volatile("str %0" : "=r"(Special->Tr));
    __asm__ volatile("sldt %0" : "=r"(Special->Ldtr));
    __asm__ volatile("stmxcsr %0" : "=m"(Special->MxCsr));
    Special->MsrGsBase = __readmsr(0xC0000101);
    Special->MsrGsSwap = __readmsr(0xC0000102);
    Special->MsrStar = __readmsr(0xC0000081);
    Special->MsrLStar = __readmsr(0xC0000082);
    Special->MsrSyscallMask = __readmsr(0xC0000084);
}
