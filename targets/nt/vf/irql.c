// IRQL and spin lock checks.
#include "vf.h"

static BOOLEAN ViChecksIrql(VOID)
{
    return (MmVerifierData.Level & DRIVER_VERIFIER_FORCE_IRQL_CHECKING) != 0;
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
    return KfRaiseIrql(NewIrql);
}

VOID VerifierKeLowerIrql(KIRQL NewIrql)
{
    if (ViChecksIrql() && NewIrql > KeGetCurrentIrql())
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION, VfLowerToHigherIrql,
                                 KeGetCurrentIrql(), NewIrql, 0, __builtin_return_address(0));
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
    return KeAcquireSpinLockRaiseToDpc(SpinLock);
}

VOID VerifierKeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql)
{
    if (ViChecksIrql() && KeGetCurrentIrql() != DISPATCH_LEVEL)
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION, VfReleaseSpinLockIrql,
                                 KeGetCurrentIrql(), (ULONG_PTR)SpinLock, 0,
                                 __builtin_return_address(0));
    KeReleaseSpinLock(SpinLock, NewIrql);
}
