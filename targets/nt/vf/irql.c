// IRQL and spin lock checks.
#include "vf.h"

#define VI_TRACK_IRQLS 256
#define VI_TRACK_IRQL_TAG 'qrIV'      // "VIrq"

static BOOLEAN ViChecksIrql(VOID)
{
    return (MmVerifierData.Level & DRIVER_VERIFIER_FORCE_IRQL_CHECKING) != 0;
}

// The log of transitions, the newest entry at ViTrackIrqlIndex.
VI_TRACK_IRQL *ViTrackIrqlQueue = NULL;
ULONG ViTrackIrqlQueueLength = VI_TRACK_IRQLS;
LONG ViTrackIrqlIndex = -1;

VOID ViTrackIrqlInitialize(VOID)
{
    SIZE_T Size = VI_TRACK_IRQLS * sizeof(VI_TRACK_IRQL);

    ViTrackIrqlQueue = ExAllocatePoolWithTag(NonPagedPoolNx, Size, VI_TRACK_IRQL_TAG);
    if (ViTrackIrqlQueue != NULL)
        memset(ViTrackIrqlQueue, 0, Size);
}

static VOID ViTrackIrqlLog(KIRQL OldIrql, KIRQL NewIrql)
{
    VI_TRACK_IRQL *Entry;

    if (ViTrackIrqlQueue == NULL)
        return;
    Entry = &ViTrackIrqlQueue[(ULONG)InterlockedIncrement(&ViTrackIrqlIndex) &
                              (VI_TRACK_IRQLS - 1)];
    memset(Entry, 0, sizeof(*Entry));
    Entry->Thread = KeGetCurrentThread();
    Entry->OldIrql = OldIrql;
    Entry->NewIrql = NewIrql;
    Entry->Processor = (USHORT)KeGetCurrentPrcb()->Number;
    Entry->TickCount = (ULONG)SHARED_USER_DATA->TickCountQuad;
    RtlCaptureStackBackTrace(2, ARRAYSIZE(Entry->StackTrace), Entry->StackTrace, NULL);
}

static PVF_TARGET_VERIFIED_DRIVER_DATA ViDriverData(PVOID CallingAddress)
{
    PVF_TARGET_DRIVER Driver = VfTargetDriversLookup(CallingAddress);

    return Driver == NULL ? NULL : Driver->VerifiedData;
}

KIRQL VerifierKfRaiseIrql(KIRQL NewIrql)
{
    KIRQL Irql = KeGetCurrentIrql();
    PVF_TARGET_VERIFIED_DRIVER_DATA Data = ViDriverData(__builtin_return_address(0));

    if (ViChecksIrql() && NewIrql < Irql)
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION, VfRaiseToLowerIrql, Irql,
                                 NewIrql, 0, __builtin_return_address(0));
    InterlockedIncrement((PLONG)&MmVerifierData.RaiseIrqls);
    if (Data != NULL)
        InterlockedIncrement((PLONG)&Data->RaiseIrqls);
    ViTrackIrqlLog(Irql, NewIrql);
    return KfRaiseIrql(NewIrql);
}

VOID VerifierKeLowerIrql(KIRQL NewIrql)
{
    if (ViChecksIrql() && NewIrql > KeGetCurrentIrql())
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION, VfLowerToHigherIrql,
                                 KeGetCurrentIrql(), NewIrql, 0, __builtin_return_address(0));
    ViTrackIrqlLog(KeGetCurrentIrql(), NewIrql);
    KeLowerIrql(NewIrql);
}

KIRQL VerifierKeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock)
{
    PVF_TARGET_VERIFIED_DRIVER_DATA Data = ViDriverData(__builtin_return_address(0));

    if (ViChecksIrql() && KeGetCurrentIrql() > DISPATCH_LEVEL)
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION, VfAcquireSpinLockIrql,
                                 KeGetCurrentIrql(), (ULONG_PTR)SpinLock, 0,
                                 __builtin_return_address(0));
    InterlockedIncrement((PLONG)&MmVerifierData.AcquireSpinLocks);
    if (Data != NULL)
        InterlockedIncrement((PLONG)&Data->AcquireSpinLocks);
    ViTrackIrqlLog(KeGetCurrentIrql(), DISPATCH_LEVEL);
    return KeAcquireSpinLockRaiseToDpc(SpinLock);
}

VOID VerifierKeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql)
{
    if (ViChecksIrql() && KeGetCurrentIrql() != DISPATCH_LEVEL)
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION, VfReleaseSpinLockIrql,
                                 KeGetCurrentIrql(), (ULONG_PTR)SpinLock, 0,
                                 __builtin_return_address(0));
    ViTrackIrqlLog(DISPATCH_LEVEL, NewIrql);
    KeReleaseSpinLock(SpinLock, NewIrql);
}
