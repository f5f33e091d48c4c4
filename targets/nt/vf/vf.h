// Driver Verifier. Verified drivers call the routines here through their import tables; what they
// allocate is noted in pages of _VI_POOL_ENTRY, one chain of pages per driver.
#pragma once
#include "../ex/ex.h"

#define DRIVER_VERIFIER_DETECTED_VIOLATION 0xC4
#define VF_DRIVER_SIGNATURE 0x98761940
#define VI_POOL_PAGE_SIGNATURE 0x21321345

// MmVerifierData.Level. Special pool (1), low resources simulation (4) and the I/O, deadlock, DMA
// and DDI checks are accepted and have no effect here.
#define DRIVER_VERIFIER_FORCE_IRQL_CHECKING 0x02
#define DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS 0x08
#define VF_LEVEL_NOT_CONFIGURED 0xFFFFFFFF

// First parameters of DRIVER_VERIFIER_DETECTED_VIOLATION.
typedef enum _VF_VIOLATION {
    VfAllocateZeroBytes = 0x00,
    VfAllocatePagedIrql = 0x01,
    VfAllocateNonPagedIrql = 0x02,
    VfFreeBadAddress = 0x10,
    VfFreePagedIrql = 0x11,
    VfFreeNonPagedIrql = 0x12,
    VfRaiseToLowerIrql = 0x30,
    VfLowerToHigherIrql = 0x31,
    VfReleaseSpinLockIrql = 0x32,
    VfAcquireSpinLockIrql = 0x40,
    VfPoolHeaderOverwritten = 0x51,
    VfUnloadWithAllocations = 0x62,
} VF_VIOLATION;

typedef struct _VF_THUNK {
    PVOID PristineRoutine;
    PVOID NewRoutine;
} VF_THUNK;

// settings.c
extern LIST_ENTRY VfSuspectDriversList;
PVF_SUSPECT_DRIVER_ENTRY VfSuspectDriversLookup(PCUNICODE_STRING BaseName);

// targets.c: the images that are being verified, by address
VOID VfTargetDriversInitialize(VOID);
PVF_TARGET_DRIVER VfTargetDriversLookup(PVOID Address);
PVF_TARGET_DRIVER VfTargetDriversAdd(PKLDR_DATA_TABLE_ENTRY Entry,
                                     PVF_SUSPECT_DRIVER_ENTRY Suspect);

// thunks.c
VOID VfThunkApplyDriverThunks(PKLDR_DATA_TABLE_ENTRY Entry);

// pool.c
VOID VfInitializePoolTraces(VOID);
VOID VfFreePoolNotification(PVOID P, PVOID BlockEnd, ULONG PoolType);
VOID VfPoolCheckForLeaks(PVF_TARGET_DRIVER Driver);
VOID VfPoolRelease(PVF_TARGET_VERIFIED_DRIVER_DATA Data);
PVOID VerifierExAllocatePool(POOL_TYPE PoolType, SIZE_T NumberOfBytes);
PVOID VerifierExAllocatePool2(ULONG64 Flags, SIZE_T NumberOfBytes, ULONG Tag);
PVOID VerifierExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
PVOID VerifierExAllocatePoolWithQuotaTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
VOID VerifierExFreePool(PVOID P);
VOID VerifierExFreePoolWithTag(PVOID P, ULONG Tag);

// irql.c
VOID ViTrackIrqlInitialize(VOID);
KIRQL VerifierKfRaiseIrql(KIRQL NewIrql);
VOID VerifierKeLowerIrql(KIRQL NewIrql);
KIRQL VerifierKeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock);
VOID VerifierKeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql);

// report.c
VOID VfReportIssueWithOptions(ULONG Code, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3, ULONG_PTR P4,
                              PVOID CallingAddress);
