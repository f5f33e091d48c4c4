// Messages between processors: look at your queues, flush translations, stop for ever.
#include "ki.h"

#define TARGET_FREEZE 2                     // KPRCB.IpiFrozen, as Windows numbers it
#define TARGET_FROZEN 3

// The one flush that is going on. Guarded by its lock; Waiting counts processors yet to flush.
static struct {
    KSPIN_LOCK Lock;
    PUCHAR Address;
    SIZE_T Pages;
    volatile LONG Waiting;
    volatile LONG64 Targets;
} KiTbFlush;

VOID KiIpiSend(ULONG Processor)
{
    HalpMachineCall(ServiceSendIpi, Processor, 0, 0, 0);
}

static VOID KiFlushRange(PUCHAR Address, SIZE_T Pages)
{
    if (Pages > 64)
        __writecr3(__readcr3());
    else
        for (SIZE_T i = 0; i < Pages; i++)
            __invlpg(Address + i * PAGE_SIZE);
}

static VOID KiFlushTargetTb(PKPRCB Prcb)
{
    LONG64 Mine = (LONG64)Prcb->GroupSetMember;

    if (__atomic_fetch_and(&KiTbFlush.Targets, ~Mine, __ATOMIC_ACQ_REL) & Mine) {
        KiFlushRange(KiTbFlush.Address, KiTbFlush.Pages);
        InterlockedDecrement(&KiTbFlush.Waiting);
    }
}

// Forget translations on all processors before the pages are used for something else.
VOID KeFlushTb(PVOID VirtualAddress, SIZE_T Pages)
{
    KIRQL OldIrql = KfRaiseIrql(DISPATCH_LEVEL);
    PKPRCB Prcb = KeGetCurrentPrcb();

    KiFlushRange(VirtualAddress, Pages);
    if (KeNumberProcessors > 1) {
        KeAcquireSpinLockAtDpcLevel(&KiTbFlush.Lock);
        KiTbFlush.Address = VirtualAddress;
        KiTbFlush.Pages = Pages;
        KiTbFlush.Waiting = (LONG)KeNumberProcessors - 1;
        __atomic_store_n(&KiTbFlush.Targets,
                         (LONG64)(KeActiveProcessors.Bitmap[0] & ~Prcb->GroupSetMember),
                         __ATOMIC_RELEASE);
        for (ULONG i = 0; i < KeNumberProcessors; i++)
            if (i != Prcb->Number)
                KiIpiSend(i);
        while (KiTbFlush.Waiting)
            YieldProcessor();
        KeReleaseSpinLockFromDpcLevel(&KiTbFlush.Lock);
    }
    KeLowerIrql(OldIrql);
}

// The owner of a bug check stops everyone else.
VOID KiFreezeExecution(VOID)
{
    for (ULONG i = 0; i < KeNumberProcessors; i++)
        if (KiProcessorBlock[i] != KeGetCurrentPrcb()) {
            KiProcessorBlock[i]->IpiFrozen = TARGET_FREEZE;
            KiIpiSend(i);
        }
}

static DECLSPEC_NORETURN VOID KiFreezeTargetExecution(PKPRCB Prcb, PKTRAP_FRAME TrapFrame)
{
    KiSaveProcessorControlState(&Prcb->ProcessorState);
    KeContextFromKframes(TrapFrame, NULL, &Prcb->ProcessorState.ContextFrame);
    Prcb->IpiFrozen = TARGET_FROZEN;
    for (;;) {                              // the clock gets through, for a debugger that breaks in
        __writecr8(SYNCH_LEVEL);
        HalProcessorIdle();
    }
}

VOID KiIpiInterruptSubDispatch(PKTRAP_FRAME TrapFrame)
{
    PKPRCB Prcb = KeGetCurrentPrcb();

    __writecr8(IPI_LEVEL);
    Prcb->InterruptCount++;
    KiFlushTargetTb(Prcb);
    if (Prcb->IpiFrozen == TARGET_FREEZE)
        KiFreezeTargetExecution(Prcb, TrapFrame);
    KiExitInterrupt(TrapFrame);
}
