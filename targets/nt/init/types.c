// Carries every type into the PDB, and proves that the C layouts are the real kernel's.
#include "ke/ki.h"
#include "ksamd64.h"
#include "nttypes_check.h"

#define SAME(type, field, constant) \
    _Static_assert(__builtin_offsetof(type, field) == (constant), #constant)

SAME(KTRAP_FRAME, PreviousIrql, TrPreviousIrql);
SAME(KTRAP_FRAME, MxCsr, TrMxCsr);
SAME(KTRAP_FRAME, Rax, TrRax);
SAME(KTRAP_FRAME, Rcx, TrRcx);
SAME(KTRAP_FRAME, Rdx, TrRdx);
SAME(KTRAP_FRAME, R8, TrR8);
SAME(KTRAP_FRAME, R9, TrR9);
SAME(KTRAP_FRAME, R10, TrR10);
SAME(KTRAP_FRAME, R11, TrR11);
SAME(KTRAP_FRAME, Xmm0, TrXmm0);
SAME(KTRAP_FRAME, Xmm5, TrXmm5);
SAME(KTRAP_FRAME, FaultAddress, TrFaultAddress);
SAME(KTRAP_FRAME, Rbp, TrRbp);
SAME(KTRAP_FRAME, ErrorCode, TrErrorCode);
SAME(KTRAP_FRAME, Rip, TrRip);
SAME(KTRAP_FRAME, SegCs, TrSegCs);
SAME(KTRAP_FRAME, EFlags, TrEFlags);
SAME(KTRAP_FRAME, Rsp, TrRsp);
SAME(KTRAP_FRAME, SegSs, TrSegSs);
SAME(KEXCEPTION_FRAME, Xmm6, ExXmm6);
SAME(KEXCEPTION_FRAME, Xmm15, ExXmm15);
SAME(KEXCEPTION_FRAME, Rbp, ExRbp);
SAME(KEXCEPTION_FRAME, Rbx, ExRbx);
SAME(KEXCEPTION_FRAME, Rdi, ExRdi);
SAME(KEXCEPTION_FRAME, Rsi, ExRsi);
SAME(KEXCEPTION_FRAME, R12, ExR12);
SAME(KEXCEPTION_FRAME, R15, ExR15);
_Static_assert(sizeof(KEXCEPTION_FRAME) == ExceptionFrameLength, "KEXCEPTION_FRAME");
SAME(EXCEPTION_RECORD, ExceptionCode, ErExceptionCode);
SAME(EXCEPTION_RECORD, ExceptionFlags, ErExceptionFlags);
SAME(EXCEPTION_RECORD, ExceptionAddress, ErExceptionAddress);
SAME(EXCEPTION_RECORD, NumberParameters, ErNumberParameters);
SAME(EXCEPTION_RECORD, ExceptionInformation, ErExceptionInformation);
SAME(KPCR, TssBase, PcTss);
SAME(KPCR, CurrentPrcb, PcCurrentPrcb);
SAME(KPRCB, CurrentThread, PbCurrentThread);
SAME(KPRCB, RspBase, PbRspBase);
SAME(KPRCB, KeContextSwitches, PbContextSwitches);
SAME(KTHREAD, InitialStack, ThInitialStack);
SAME(KTHREAD, KernelStack, ThKernelStack);
SAME(KTHREAD, ApcState.Process, ThApcStateProcess);
SAME(KTHREAD, ContextSwitches, ThContextSwitches);
SAME(KPROCESS, DirectoryTableBase, PrDirectoryTableBase);
SAME(KTSS64, Rsp0, TssRsp0);
SAME(CONTEXT, ContextFlags, CxContextFlags);
SAME(CONTEXT, MxCsr, CxMxCsr);
SAME(CONTEXT, SegCs, CxSegCs);
SAME(CONTEXT, SegSs, CxSegSs);
SAME(CONTEXT, EFlags, CxEFlags);
SAME(CONTEXT, Rax, CxRax);
SAME(CONTEXT, Rsp, CxRsp);
SAME(CONTEXT, R15, CxR15);
SAME(CONTEXT, Rip, CxRip);
SAME(CONTEXT, FltSave, CxFltSave);
_Static_assert(sizeof(KSWITCH_FRAME) == 0x40, "SwapContext");
