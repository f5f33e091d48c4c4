// IRQL and spin locks. CR8 is the IRQL.
#include "ki.h"

KIRQL KeGetCurrentIrql(VOID)
{
    return (KIRQL)__readcr8();
}

FORCEINLINE KIRQL KiRaiseIrql(KIRQL NewIrql)
{
    KIRQL Old = (KIRQL)__readcr8();

    if (NewIrql < Old)
        KeBugCheckEx(0x09, Old, NewIrql, 0, 0);    // IRQL_NOT_GREATER_OR_EQUAL
    __writecr8(NewIrql);
    return Old;
}

KIRQL KfRaiseIrql(KIRQL NewIrql)
{
    return KiRaiseIrql(NewIrql);
}

// There is no software interrupt hardware: work that became pending above DISPATCH_LEVEL is done
// here. An interrupt that arrives after the write to CR8 does its own work on exit. The idle thread
// is below DISPATCH_LEVEL only while it boots the system; its loop looks for work by itself.
VOID KeLowerIrql(KIRQL NewIrql)
{
    PKPRCB Prcb = KeGetCurrentPrcb();

    __writecr8(NewIrql);
    if (Prcb->CurrentThread == Prcb->IdleThread)
        return;
    while (NewIrql < DISPATCH_LEVEL && KiPendingWork(KeGetCurrentPrcb())) {
        __writecr8(DISPATCH_LEVEL);
        KiDispatchInterrupt();
        __writecr8(NewIrql);
    }
}

VOID KeInitializeSpinLock(PKSPIN_LOCK SpinLock)
{
    *SpinLock = 0;
}

FORCEINLINE VOID KxAcquireSpinLock(PKSPIN_LOCK SpinLock)
{
    while (__atomic_exchange_n(SpinLock, 1, __ATOMIC_ACQUIRE))
        while (*(volatile KSPIN_LOCK *)SpinLock)
            YieldProcessor();
}

FORCEINLINE VOID KxReleaseSpinLock(PKSPIN_LOCK SpinLock)
{
    __atomic_store_n(SpinLock, 0, __ATOMIC_RELEASE);
}

VOID KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock)
{
    KxAcquireSpinLock(SpinLock);
}

VOID KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK SpinLock)
{
    KxReleaseSpinLock(SpinLock);
}

KIRQL KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock)
{
    KIRQL Old = KiRaiseIrql(DISPATCH_LEVEL);

    KxAcquireSpinLock(SpinLock);
    return Old;
}

VOID KeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql)
{
    KxReleaseSpinLock(SpinLock);
    KeLowerIrql(NewIrql);
}

VOID KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE Handle)
{
    Handle->LockQueue.Lock = SpinLock;
    Handle->LockQueue.Next = NULL;
    Handle->OldIrql = KeAcquireSpinLockRaiseToDpc(SpinLock);
}

VOID KeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE Handle)
{
    KeReleaseSpinLock((PKSPIN_LOCK)Handle->LockQueue.Lock, Handle->OldIrql);
}

KIRQL KiAcquireDispatcherLock(VOID)
{
    return KeAcquireSpinLockRaiseToDpc(&KiDispatcherLock);
}

VOID KiReleaseDispatcherLock(VOID)
{
    ULONG64 Targets = KiDispatcherIpis;

    KiDispatcherIpis = 0;
    KeReleaseSpinLockFromDpcLevel(&KiDispatcherLock);
    for (ULONG i = 0; i < KeNumberProcessors; i++)
        if (Targets >> i & 1)
            KiIpiSend(i);
}

VOID KiExitDispatcher(KIRQL OldIrql)
{
    KiReleaseDispatcherLock();
    KeLowerIrql(OldIrql);
}
