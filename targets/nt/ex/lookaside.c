// Lookaside lists: a stack of free blocks in front of the pool. All lists of a kind are linked, so
// that a debugger finds them.
#include "ex.h"

#define LOOKASIDE_MINIMUM_DEPTH 4
#define LOOKASIDE_MAXIMUM_DEPTH 256
#define LOOKASIDE_TAG 'saLk'        // "kLas"

typedef PVOID LOOKASIDE_ALLOCATE(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
typedef VOID LOOKASIDE_FREE(PVOID Block);

LIST_ENTRY ExNPagedLookasideListHead;
LIST_ENTRY ExPagedLookasideListHead;
LIST_ENTRY ExPoolLookasideListHead;
KSPIN_LOCK ExNPagedLookasideLock;
KSPIN_LOCK ExPagedLookasideLock;

VOID ExpInitLookasideLists(VOID)
{
    InitializeListHead(&ExNPagedLookasideListHead);
    InitializeListHead(&ExPagedLookasideListHead);
    InitializeListHead(&ExPoolLookasideListHead);
}

static VOID ExpInitializeLookaside(PGENERAL_LOOKASIDE List, POOL_TYPE Type, SIZE_T Size, ULONG Tag,
                                   PVOID Allocate, PVOID Free)
{
    memset(List, 0, sizeof(*List));
    RtlInitializeSListHead(&List->ListHead);
    List->Depth = LOOKASIDE_MINIMUM_DEPTH;
    List->MaximumDepth = LOOKASIDE_MAXIMUM_DEPTH;
    List->Type = Type;
    List->Tag = Tag;
    List->Size = (ULONG)(Size < sizeof(SLIST_ENTRY) ? sizeof(SLIST_ENTRY) : Size);
    List->Allocate = Allocate != NULL ? Allocate : (PVOID)ExAllocatePoolWithTag;
    List->Free = Free != NULL ? Free : (PVOID)ExFreePool;
}

static PVOID ExpAllocateFromLookaside(PGENERAL_LOOKASIDE List)
{
    PVOID Block = RtlpInterlockedPopEntrySList(&List->ListHead);

    InterlockedIncrement((PLONG)&List->TotalAllocates);
    if (Block != NULL)
        return Block;
    InterlockedIncrement((PLONG)&List->AllocateMisses);
    return ((LOOKASIDE_ALLOCATE *)List->Allocate)(List->Type, List->Size, List->Tag);
}

static VOID ExpFreeToLookaside(PGENERAL_LOOKASIDE List, PVOID Block)
{
    InterlockedIncrement((PLONG)&List->TotalFrees);
    if (List->ListHead.HeaderX64.Depth < List->Depth) {
        RtlpInterlockedPushEntrySList(&List->ListHead, Block);
        return;
    }
    InterlockedIncrement((PLONG)&List->FreeMisses);
    ((LOOKASIDE_FREE *)List->Free)(Block);
}

// A processor's own list first, then the one all processors share; new blocks come from pool.
PVOID ExpAllocateFromProcessorLookaside(PP_NPAGED_LOOKASIDE_NUMBER Number)
{
    PPP_LOOKASIDE_LIST Lists = &KeGetCurrentPrcb()->PPLookasideList[Number];
    PVOID Block = RtlpInterlockedPopEntrySList(&Lists->P->ListHead);

    InterlockedIncrement((PLONG)&Lists->P->TotalAllocates);
    if (Block != NULL)
        return Block;
    InterlockedIncrement((PLONG)&Lists->P->AllocateMisses);
    return ExpAllocateFromLookaside(Lists->L);
}

VOID ExpFreeToProcessorLookaside(PP_NPAGED_LOOKASIDE_NUMBER Number, PVOID Block)
{
    PPP_LOOKASIDE_LIST Lists = &KeGetCurrentPrcb()->PPLookasideList[Number];

    InterlockedIncrement((PLONG)&Lists->P->TotalFrees);
    if (Lists->P->ListHead.HeaderX64.Depth < Lists->P->Depth) {
        RtlpInterlockedPushEntrySList(&Lists->P->ListHead, Block);
        return;
    }
    InterlockedIncrement((PLONG)&Lists->P->FreeMisses);
    ExpFreeToLookaside(Lists->L, Block);
}

static VOID ExpInsertLookaside(PLIST_ENTRY Head, PKSPIN_LOCK Lock, PLIST_ENTRY Entry)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(Lock);

    InsertTailList(Head, Entry);
    KeReleaseSpinLock(Lock, Irql);
}

static VOID ExpDeleteLookaside(PGENERAL_LOOKASIDE List, PKSPIN_LOCK Lock)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(Lock);
    PVOID Block;

    RemoveEntryList(&List->ListEntry);
    KeReleaseSpinLock(Lock, Irql);
    while ((Block = RtlpInterlockedPopEntrySList(&List->ListHead)) != NULL)
        ((LOOKASIDE_FREE *)List->Free)(Block);
}

VOID ExInitializeNPagedLookasideList(PNPAGED_LOOKASIDE_LIST List, PVOID Allocate, PVOID Free,
                                     ULONG Flags, SIZE_T Size, ULONG Tag, USHORT Depth)
{
    UNREFERENCED_PARAMETER(Depth);
    ExpInitializeLookaside(&List->L, NonPagedPool | Flags, Size, Tag, Allocate, Free);
    ExpInsertLookaside(&ExNPagedLookasideListHead, &ExNPagedLookasideLock, &List->L.ListEntry);
}

PVOID ExAllocateFromNPagedLookasideList(PNPAGED_LOOKASIDE_LIST List)
{
    return ExpAllocateFromLookaside(&List->L);
}

VOID ExFreeToNPagedLookasideList(PNPAGED_LOOKASIDE_LIST List, PVOID Block)
{
    ExpFreeToLookaside(&List->L, Block);
}

VOID ExDeleteNPagedLookasideList(PNPAGED_LOOKASIDE_LIST List)
{
    ExpDeleteLookaside(&List->L, &ExNPagedLookasideLock);
}

VOID ExInitializePagedLookasideList(PPAGED_LOOKASIDE_LIST List, PVOID Allocate, PVOID Free,
                                    ULONG Flags, SIZE_T Size, ULONG Tag, USHORT Depth)
{
    UNREFERENCED_PARAMETER(Depth);
    ExpInitializeLookaside(&List->L, PagedPool | Flags, Size, Tag, Allocate, Free);
    ExpInsertLookaside(&ExPagedLookasideListHead, &ExPagedLookasideLock, &List->L.ListEntry);
}

PVOID ExAllocateFromPagedLookasideList(PPAGED_LOOKASIDE_LIST List)
{
    return ExpAllocateFromLookaside(&List->L);
}

VOID ExFreeToPagedLookasideList(PPAGED_LOOKASIDE_LIST List, PVOID Block)
{
    ExpFreeToLookaside(&List->L, Block);
}

VOID ExDeletePagedLookasideList(PPAGED_LOOKASIDE_LIST List)
{
    ExpDeleteLookaside(&List->L, &ExPagedLookasideLock);
}

// Lists [0] are the system's, the others each processor's.
VOID ExpInitializeProcessorLookaside(PP_NPAGED_LOOKASIDE_NUMBER Number, SIZE_T Size, ULONG Tag)
{
    SIZE_T Count = KeNumberProcessors + 1;
    PGENERAL_LOOKASIDE Lists =
        ExAllocatePoolWithTag(NonPagedPoolNx, Count * sizeof(*Lists), LOOKASIDE_TAG);

    if (Lists == NULL)
        KeBugCheck(BAD_POOL_CALLER);
    for (ULONG i = 0; i < Count; i++) {
        ExpInitializeLookaside(&Lists[i], NonPagedPoolNx, Size, Tag, NULL, NULL);
        ExpInsertLookaside(&ExNPagedLookasideListHead, &ExNPagedLookasideLock,
                           &Lists[i].ListEntry);
    }
    for (ULONG i = 0; i < KeNumberProcessors; i++) {
        KiProcessorBlock[i]->PPLookasideList[Number].P = &Lists[i + 1];
        KiProcessorBlock[i]->PPLookasideList[Number].L = &Lists[0];
    }
}
