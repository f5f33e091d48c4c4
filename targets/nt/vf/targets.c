// The tree of verified images: an AVL table of _VF_TARGET_DRIVER, keyed by address range.
#include "vf.h"

#define VF_TARGET_TAG 'rDfV'       // "VfDr"

VF_AVL_TREE ViTargetDriversAvl;
KSPIN_LOCK VfDriverLock;

static RTL_GENERIC_COMPARE_RESULTS ViAvlCompareNode(PRTL_AVL_TABLE Table, PVOID First, PVOID Second)
{
    PVF_AVL_TREE_NODE A = First, B = Second;

    if ((ULONG64)A->p + A->RangeSize <= (ULONG64)B->p)
        return GenericLessThan;
    if ((ULONG64)A->p >= (ULONG64)B->p + B->RangeSize)
        return GenericGreaterThan;
    return GenericEqual;
}

static PVOID ViAvlAllocateNode(PRTL_AVL_TABLE Table, ULONG Size)
{
    return ExAllocatePoolWithTag(NonPagedPoolNx, Size, VF_TARGET_TAG);
}

static VOID ViAvlFreeNode(PRTL_AVL_TABLE Table, PVOID Buffer)
{
    ExFreePoolWithTag(Buffer, VF_TARGET_TAG);
}

static PRTL_AVL_TABLE VfTargetTable(VOID)
{
    return &ViTargetDriversAvl.Tables[0].RtlTable;
}

VOID VfTargetDriversInitialize(VOID)
{
    PVF_AVL_TABLE Table = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Table), VF_TARGET_TAG);

    if (Table == NULL)
        return;
    memset(Table, 0, sizeof(*Table));
    RtlInitializeGenericTableAvl(&Table->RtlTable, ViAvlCompareNode, ViAvlAllocateNode,
                                 ViAvlFreeNode, NULL);
    ViTargetDriversAvl.u1.NodeSize = sizeof(VF_TARGET_DRIVER);
    ViTargetDriversAvl.Tables = Table;
    ViTargetDriversAvl.TablesNo = 1;
}

// The verified image that holds Address, NULL when there is none.
PVF_TARGET_DRIVER VfTargetDriversLookup(PVOID Address)
{
    VF_AVL_TREE_NODE Key = {.p = Address, .RangeSize = 1};
    PVF_TARGET_DRIVER Driver;
    KIRQL Irql;

    if (ViTargetDriversAvl.NodeCount == 0)
        return NULL;
    Irql = KeAcquireSpinLockRaiseToDpc(&VfDriverLock);
    Driver = RtlLookupElementGenericTableAvl(VfTargetTable(), &Key);
    KeReleaseSpinLock(&VfDriverLock, Irql);
    return Driver;
}

PVF_TARGET_DRIVER VfTargetDriversAdd(PKLDR_DATA_TABLE_ENTRY Entry, PVF_SUSPECT_DRIVER_ENTRY Suspect)
{
    PVF_TARGET_VERIFIED_DRIVER_DATA Data =
        ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Data), VF_TARGET_TAG);
    VF_TARGET_DRIVER New = {0};
    PVF_TARGET_DRIVER Driver = NULL;
    KIRQL Irql;

    if (Data == NULL)
        return NULL;
    memset(Data, 0, sizeof(*Data));
    Data->SuspectDriverEntry = Suspect;
    Data->Signature = VF_DRIVER_SIGNATURE;
    InitializeListHead(&Data->EtwHandlesListHead);
    InitializeListHead(&Data->ContiguousMemoryListHead);
    New.TreeNode.Base.p = Entry->DllBase;
    New.TreeNode.Base.RangeSize = Entry->SizeOfImage;
    New.TreeNode.SessionId = MAXULONG;
    New.VerifiedData = Data;
    Irql = KeAcquireSpinLockRaiseToDpc(&VfDriverLock);
    if (ViTargetDriversAvl.TablesNo != 0)
        Driver = RtlInsertElementGenericTableAvl(VfTargetTable(), &New, sizeof(New), NULL);
    if (Driver != NULL)
        ViTargetDriversAvl.NodeCount++;
    KeReleaseSpinLock(&VfDriverLock, Irql);
    if (Driver == NULL)
        ExFreePoolWithTag(Data, VF_TARGET_TAG);
    return Driver;
}

static VOID VfTargetDriversRemove(PVF_TARGET_DRIVER Driver)
{
    PVF_TARGET_VERIFIED_DRIVER_DATA Data = Driver->VerifiedData;
    KIRQL Irql;

    if (MmVerifierData.Level & DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS)
        VfPoolCheckForLeaks(Driver);
    Irql = KeAcquireSpinLockRaiseToDpc(&VfDriverLock);
    RtlDeleteElementGenericTableAvl(VfTargetTable(), Driver);
    ViTargetDriversAvl.NodeCount--;
    KeReleaseSpinLock(&VfDriverLock, Irql);
    VfPoolRelease(Data);
    ExFreePoolWithTag(Data, VF_TARGET_TAG);
}

// A driver's image is in place and its imports are bound.
VOID VfDriverLoadImage(PKLDR_DATA_TABLE_ENTRY Entry)
{
    PVF_SUSPECT_DRIVER_ENTRY Suspect = VfSuspectDriversLookup(&Entry->BaseDllName);

    if (Suspect == NULL || VfTargetDriversAdd(Entry, Suspect) == NULL)
        return;
    Suspect->Loads++;
    MmVerifierData.Loads++;
    VfThunkApplyDriverThunks(Entry);
}

// The driver's unload routine has returned and its image is still in place.
VOID VfDriverUnloadImage(PKLDR_DATA_TABLE_ENTRY Entry)
{
    PVF_TARGET_DRIVER Driver = VfTargetDriversLookup(Entry->DllBase);

    if (Driver == NULL)
        return;
    VfTargetDriversRemove(Driver);
    VfSuspectDriversLookup(&Entry->BaseDllName)->Unloads++;
    MmVerifierData.Unloads++;
}

BOOLEAN VfIsVerifierEnabled(VOID)
{
    return MmVerifierData.Level != 0;
}
