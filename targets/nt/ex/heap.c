// One segment heap: routes a request to chunks, page ranges or, beyond both, an address range of
// its own.
#include "heap.h"

#define TAG_LARGE_METADATA 'MgrL'  // "LrgM"

RTLP_HP_HEAP_GLOBALS RtlpHpHeapGlobals;

DECLSPEC_NORETURN VOID RtlpHeapHandleError(HEAP_CORRUPTION Failure, PVOID Heap, PVOID Block)
{
    KeBugCheckEx(KERNEL_MODE_HEAP_CORRUPTION, Failure, (ULONG_PTR)Heap, (ULONG_PTR)Block, 0);
}

PSEGMENT_HEAP RtlpHpHeapCreate(PVOID Address, EX_HEAP_TYPE Type)
{
    PSEGMENT_HEAP Heap = Address;

    Heap->EnvHandle.h[0] = (PVOID)(ULONG_PTR)Type;
    Heap->Signature = RTLP_HP_HEAP_SIGNATURE;
    Heap->AllocatedBase = (PUCHAR)(Heap + 1);
    Heap->UncommittedBase = (PUCHAR)Heap + PAGE_SIZE;
    Heap->ReservedLimit = (PUCHAR)Heap + PAGE_SIZE;
    RtlpHpSegContextInitialize(Heap, 0);
    RtlpHpSegContextInitialize(Heap, 1);
    RtlpHpVsContextInitialize(Heap);
    Heap->LfhContext.BackendCtx = &Heap->SegContexts[0];
    // An odd value says: this bucket has no front end (yet).
    for (ULONG i = 0; i < ARRAYSIZE(Heap->LfhContext.Buckets); i++)
        Heap->LfhContext.Buckets[i] = (PHEAP_LFH_BUCKET)1;
    return Heap;
}

static PHEAP_LARGE_ALLOC_DATA RtlpHpLargeFind(PSEGMENT_HEAP Heap, PVOID Address,
                                              PRTL_BALANCED_NODE *Parent, PBOOLEAN Right)
{
    PRTL_BALANCED_NODE Next = Heap->LargeAllocMetadata.Root;

    *Parent = NULL;
    *Right = FALSE;
    while (Next != NULL) {
        PHEAP_LARGE_ALLOC_DATA Data = CONTAINING_RECORD(Next, HEAP_LARGE_ALLOC_DATA, TreeNode);
        ULONG64 Va = Data->VirtualAddress & ~0xFFFFull;
        if (Va == (ULONG64)Address)
            return Data;
        *Parent = Next;
        *Right = Va < (ULONG64)Address;
        Next = Next->Children[*Right];
    }
    return NULL;
}

static PVOID RtlpHpLargeAlloc(PSEGMENT_HEAP Heap, SIZE_T Size)
{
    ULONG Megabytes = (ULONG)((Size + RTLP_HP_MEGABYTE - 1) >> RTLP_HP_MEGABYTE_SHIFT);
    PHEAP_LARGE_ALLOC_DATA Data =
        ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Data), TAG_LARGE_METADATA);
    PRTL_BALANCED_NODE Parent;
    BOOLEAN Right;
    PVOID Address = NULL;
    KIRQL Irql;

    if (Data != NULL)
        Address = RtlpHpVaMgrAllocate(Heap, Megabytes, RtlpHpHugeAllocator);
    if (Address != NULL && !NT_SUCCESS(MiCommitSystemPages(Address, BYTES_TO_PAGES(Size),
                                                           RtlpHpCommitProtection(Heap)))) {
        RtlpHpVaMgrFree(Address, Megabytes);
        Address = NULL;
    }
    if (Address == NULL) {
        if (Data != NULL)
            ExFreePoolWithTag(Data, TAG_LARGE_METADATA);
        return NULL;
    }
    memset(Data, 0, sizeof(*Data));
    Data->VirtualAddress = (ULONG64)Address;
    Data->UnusedBytes = (USHORT)(ROUND_TO_PAGES(Size) - Size);
    Data->AllocatedPages = BYTES_TO_PAGES(Size);
    Irql = KeAcquireSpinLockRaiseToDpc(&Heap->LargeMetadataLock);
    RtlpHpLargeFind(Heap, Address, &Parent, &Right);
    RtlRbInsertNodeEx(&Heap->LargeAllocMetadata, Parent, Right, &Data->TreeNode);
    Heap->LargeCommittedPages += Data->AllocatedPages;
    KeReleaseSpinLock(&Heap->LargeMetadataLock, Irql);
    return Address;
}

static BOOLEAN RtlpHpLargeFree(PSEGMENT_HEAP Heap, PVOID Address)
{
    PHEAP_LARGE_ALLOC_DATA Data;
    PRTL_BALANCED_NODE Parent;
    BOOLEAN Right;
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&Heap->LargeMetadataLock);

    Data = RtlpHpLargeFind(Heap, Address, &Parent, &Right);
    if (Data != NULL) {
        RtlRbRemoveNode(&Heap->LargeAllocMetadata, &Data->TreeNode);
        Heap->LargeCommittedPages -= Data->AllocatedPages;
    }
    KeReleaseSpinLock(&Heap->LargeMetadataLock, Irql);
    if (Data == NULL)
        return FALSE;
    MiDecommitSystemPages(Address, Data->AllocatedPages);
    RtlpHpVaMgrFree(Address, (ULONG)((Data->AllocatedPages + 0xFF) >> 8));
    ExFreePoolWithTag(Data, TAG_LARGE_METADATA);
    return TRUE;
}

PVOID RtlpHpAllocateHeap(PSEGMENT_HEAP Heap, SIZE_T Size)
{
    if (Size < PAGE_SIZE)
        return RtlpHpVsContextAllocate(&Heap->VsContext, Size);
    for (ULONG i = 0; i < ARRAYSIZE(Heap->SegContexts); i++)
        if (Size <= Heap->SegContexts[i].MaxAllocationSize)
            return RtlpHpSegAlloc(&Heap->SegContexts[i], Size, HeapSegRangeUser);
    return RtlpHpLargeAlloc(Heap, Size);
}

// The heap that owns Address, NULL when none does.
PSEGMENT_HEAP RtlpHpHeapFromAddress(PVOID Address)
{
    PHEAP_SEG_CONTEXT Context = RtlpHpSegContextFromAddress(Address);
    PRTL_BALANCED_NODE Parent;
    BOOLEAN Right;

    if (Context != NULL)
        return Context->Heap;
    if (RtlpHpAllocTrackerQuery(Address) != RtlpHpHugeAllocator + 1)
        return NULL;
    for (ULONG i = 0; i < ExHeapTypeMax; i++) {
        PSEGMENT_HEAP Heap = ExPoolState.PoolNode[0].Heaps[i];
        if (Heap != NULL && RtlpHpLargeFind(Heap, Address, &Parent, &Right) != NULL)
            return Heap;
    }
    return NULL;
}

BOOLEAN RtlpHpFreeHeap(PSEGMENT_HEAP Heap, PVOID Block)
{
    PHEAP_SEG_CONTEXT Context = RtlpHpSegContextFromAddress(Block);
    PHEAP_PAGE_RANGE_DESCRIPTOR Range;

    if (Context == NULL)
        return RtlpHpLargeFree(Heap, Block);
    Range = RtlpHpSegDescriptor(Context, Block);
    if (Range == NULL)
        return FALSE;
    if ((Range->RangeFlags & RTLP_HP_RANGE_TYPE_MASK) != RTLP_HP_RANGE_TYPE(HeapSegRangeVS))
        return RtlpHpSegFree(Context, Block);
    RtlpHpVsContextFree(&Heap->VsContext, Block);
    return TRUE;
}
