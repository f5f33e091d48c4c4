// What a processor does when no thread wants it.
#include "ki.h"

static VOID PpmIdleExecuteTransition(PKPRCB Prcb)
{
    Prcb->IdleHalt = TRUE;
    HalProcessorIdle();
    Prcb->IdleHalt = FALSE;
}

static VOID PoIdle(PKPRCB Prcb)
{
    PpmIdleExecuteTransition(Prcb);
}

// Runs at DISPATCH_LEVEL for ever as the processor's idle thread. Interrupts are off between the
// last look at the queues and the halt, so none is missed.
DECLSPEC_NORETURN VOID KiIdleLoop(VOID)
{
    PKPRCB Prcb = KeGetCurrentPrcb();

    for (;;) {
        KiRetireDpcList(Prcb);
        Prcb->QuantumEnd = FALSE;
        if (Prcb->NextThread) {
            KeAcquireSpinLockAtDpcLevel(&KiDispatcherLock);
            Prcb->IdleThread->State = Running;
            KiSwapThread(Prcb->IdleThread);
            KiReleaseDispatcherLock();
            continue;
        }
        _disable();
        if (KiPendingWork(Prcb))
            _enable();
        else
            PoIdle(Prcb);
    }
}
