// Pool: the interface drivers see, on top of the segment heaps. Requests up to POOL_SMALL_MAX
// become heap chunks with a _POOL_HEADER; larger ones whole pages, noted in PoolBigPageTable.
// Session pool types are served from the global heaps: this kernel has no session space.
#include "heap.h"
#include "../vf/vf.h"

#define DEFAULT_POOL_TAG 'enoN'    // "None"
#define KMODE_EXCEPTION_NOT_HANDLED 0x1E
#define CACHE_LINE 64
// A cache-aligned block may have to move by 48 bytes, and by a line more off a page border.
#define CACHE_ALIGN_SLACK (CACHE_LINE - POOL_BLOCK_SIZE + CACHE_LINE)

// First parameters of BAD_POOL_CALLER.
#define POOL_CALLER_ALREADY_FREED 0x07
#define POOL_CALLER_ALLOCATE_IRQL 0x08
#define POOL_CALLER_FREE_IRQL 0x09
#define POOL_CALLER_WRONG_TAG 0x0A
#define POOL_CALLER_USER_ADDRESS 0x40
#define POOL_CALLER_BAD_ADDRESS 0x99
#define POOL_CALLER_MUST_SUCCEED 0x9A
#define POOL_CALLER_NO_TAG 0x9B
#define POOL_HEADER_CORRUPT 0x20   // first parameter of BAD_POOL_HEADER

EX_POOL_HEAP_MANAGER_STATE ExPoolState;
ULONG PoolHitTag;
ULONG ExPoolFailures;
ULONG ExpPoolFlags;
ULONG64 ExpPoolQuotaCookie;

VOID ExInitPoolPhase0(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    PUCHAR Heaps = (PUCHAR)LoaderBlock->NonPagedPool.Base;

    RtlpHpHeapGlobals.HeapKey = LoaderBlock->Entropy[0];
    RtlpHpHeapGlobals.LfhKey = LoaderBlock->Entropy[1];
    ExpPoolQuotaCookie = LoaderBlock->Entropy[3];
    ExPoolState.HeapManager.Globals = &RtlpHpHeapGlobals;
    ExPoolState.NumberOfPools = 1;
    RtlpHpVaMgrInitialize(LoaderBlock);
    // The heaps themselves lie before everything they manage.
    if (!NT_SUCCESS(MiCommitSystemPages(Heaps, ExHeapTypePaged + 1, MM_READWRITE)))
        KeBugCheck(BAD_POOL_HEADER);
    for (ULONG Type = ExHeapTypeNonPaged; Type <= ExHeapTypePaged; Type++)
        ExPoolState.PoolNode[0].Heaps[Type] = RtlpHpHeapCreate(Heaps + Type * PAGE_SIZE, Type);
    ExpInitPoolTagTables(LoaderBlock->NumberProcessors);
    ExpInitLookasideLists();
    ExpResourceInitialization();
}

FORCEINLINE PSEGMENT_HEAP ExpHeapOfPoolType(ULONG PoolType)
{
    EX_HEAP_TYPE Type = ExHeapTypeNonPaged;

    if (PoolType & PagedPool)
        Type = ExHeapTypePaged;
    else if (PoolType & POOL_NX)
        Type = ExHeapTypeNonPagedNx;
    return ExPoolState.PoolNode[0].Heaps[Type];
}

// The debugger's tag breakpoint: part of the caller, so that the stop is in the pool routine
// itself.
FORCEINLINE VOID ExpCheckHitTag(ULONG Tag)
{
    if (Tag == PoolHitTag)
        __asm__ volatile("int3");
}

// Bytes < 0: a block of that size is freed.
FORCEINLINE VOID ExpUpdatePoolTracker(ULONG Tag, LONG64 Bytes, ULONG PoolType)
{
    PPOOL_TRACKER_TABLE Entry = ExpFindPoolTracker(Tag, Bytes > 0);

    if (Entry != NULL)
        ExpChargePoolTracker(Entry, Bytes, PoolType);
    else if (Bytes > 0)
        ExpInsertPoolTrackerExpansion(Tag, (SIZE_T)Bytes, PoolType);
    else
        ExpRemovePoolTrackerExpansion(Tag, (SIZE_T)-Bytes, PoolType);
}

// Writes the header of a new small block into the chunk and returns the caller's pointer. A block
// that moves up for alignment leaves a header at the chunk's start too, where walkers look.
static PVOID ExpInitializePoolHeader(PVOID Chunk, ULONG BlockUnits, ULONG PoolType, ULONG Tag)
{
    PUCHAR Block = (PUCHAR)Chunk + sizeof(POOL_HEADER);
    PPOOL_HEADER Header;

    if (PoolType & POOL_CACHE_ALIGNED) {
        Block = (PUCHAR)(((ULONG64)Block + CACHE_LINE - 1) & ~(ULONG64)(CACHE_LINE - 1));
        if (BYTE_OFFSET(Block) == 0)
            Block += CACHE_LINE;
    }
    Header = (PPOOL_HEADER)Block - 1;
    Header->Ulong1 = 0;
    Header->PreviousSize = (USHORT)(((PUCHAR)Header - (PUCHAR)Chunk) >> POOL_BLOCK_SHIFT);
    Header->BlockSize = (USHORT)BlockUnits;
    Header->PoolType = (PoolType & POOL_HEADER_TYPE_BITS) | POOL_HEADER_IN_USE;
    Header->PoolTag = Tag;
    Header->ProcessBilled = NULL;
    if (PoolType & POOL_HEADER_QUOTA)
        Header->ProcessBilled = (PEPROCESS)((ULONG64)PsGetCurrentProcess() ^ ExpPoolQuotaCookie ^
                                            (ULONG64)Header);
    if ((PVOID)Header != Chunk) {
        *(PPOOL_HEADER)Chunk = *Header;
        ((PPOOL_HEADER)Chunk)->PreviousSize = 0;
    }
    return Block;
}

FORCEINLINE PVOID ExpAllocateSmall(ULONG PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    ULONG Units = (ULONG)((NumberOfBytes + sizeof(POOL_HEADER) + POOL_BLOCK_SIZE - 1) >>
                          POOL_BLOCK_SHIFT);
    SIZE_T ChunkBytes = (SIZE_T)Units << POOL_BLOCK_SHIFT;
    PVOID Chunk;

    if (PoolType & POOL_CACHE_ALIGNED)
        ChunkBytes += CACHE_ALIGN_SLACK;
    Chunk = RtlpHpAllocateHeap(ExpHeapOfPoolType(PoolType), ChunkBytes);
    if (Chunk == NULL)
        return NULL;
    ExpCheckHitTag(Tag & ~PROTECTED_POOL);
    ExpUpdatePoolTracker(Tag & ~PROTECTED_POOL, (LONG64)Units << POOL_BLOCK_SHIFT, PoolType);
    return ExpInitializePoolHeader(Chunk, Units, PoolType, Tag);
}

FORCEINLINE PVOID ExpAllocateBig(ULONG PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    PSEGMENT_HEAP Heap = ExpHeapOfPoolType(PoolType);
    SIZE_T Bytes = ROUND_TO_PAGES(NumberOfBytes);
    PVOID Block = Bytes < NumberOfBytes ? NULL : RtlpHpAllocateHeap(Heap, Bytes);

    if (Block == NULL)
        return NULL;
    if (!ExpAddTagForBigPages(Block, Tag, Bytes, PoolType, (ULONG)(Bytes - NumberOfBytes))) {
        RtlpHpFreeHeap(Heap, Block);
        return NULL;
    }
    ExpCheckHitTag(Tag & ~PROTECTED_POOL);
    ExpUpdatePoolTracker(Tag & ~PROTECTED_POOL, (LONG64)Bytes, PoolType);
    return Block;
}

// PoolType takes the public pool types and the modifier bits of ex.h. NULL when memory is
// exhausted.
PVOID ExAllocateHeapPool(ULONG PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    PVOID Block;

    if (Tag == 0)
        KeBugCheckEx(BAD_POOL_CALLER, POOL_CALLER_NO_TAG, PoolType, NumberOfBytes,
                     (ULONG_PTR)__builtin_return_address(0));
    if (PoolType & POOL_MUST_SUCCEED)
        KeBugCheckEx(BAD_POOL_CALLER, POOL_CALLER_MUST_SUCCEED, PoolType, NumberOfBytes, Tag);
    if (__readcr8() > (PoolType & PagedPool ? APC_LEVEL : DISPATCH_LEVEL))
        KeBugCheckEx(BAD_POOL_CALLER, POOL_CALLER_ALLOCATE_IRQL, KeGetCurrentIrql(), PoolType,
                     NumberOfBytes);
    if (NumberOfBytes == 0)
        NumberOfBytes = 1;
    if (NumberOfBytes + (PoolType & POOL_CACHE_ALIGNED ? CACHE_ALIGN_SLACK : 0) <= POOL_SMALL_MAX)
        Block = ExpAllocateSmall(PoolType, NumberOfBytes, Tag);
    else
        Block = ExpAllocateBig(PoolType & ~POOL_HEADER_QUOTA, NumberOfBytes, Tag);
    if (Block == NULL) {
        InterlockedIncrement((PLONG)&ExPoolFailures);
        if (PoolType & POOL_RAISE_IF_ALLOCATION_FAILURE)
            KeBugCheckEx(KMODE_EXCEPTION_NOT_HANDLED, (ULONG_PTR)STATUS_INSUFFICIENT_RESOURCES,
                         (ULONG_PTR)__builtin_return_address(0), 0, 0);
        return NULL;
    }
    if (PoolType & POOL_ZERO_ALLOCATION)
        memset(Block, 0, NumberOfBytes);
    return Block;
}

PVOID ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    return ExAllocateHeapPool(PoolType & ~POOL_HEADER_QUOTA, NumberOfBytes, Tag);
}

PVOID ExAllocatePoolWithTagPriority(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                    EX_POOL_PRIORITY Priority)
{
    UNREFERENCED_PARAMETER(Priority);
    return ExAllocateHeapPool(PoolType, NumberOfBytes, Tag);
}

PVOID ExAllocatePool(POOL_TYPE PoolType, SIZE_T NumberOfBytes)
{
    return ExAllocatePoolWithTag(PoolType, NumberOfBytes, DEFAULT_POOL_TAG);
}

PVOID ExAllocatePoolWithQuotaTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    ULONG Type = PoolType & ~POOL_QUOTA_FAIL_INSTEAD_OF_RAISE;

    // The System process pays for nothing.
    if (PsGetCurrentProcess() != PsInitialSystemProcess)
        Type |= POOL_HEADER_QUOTA;
    if (!(PoolType & POOL_QUOTA_FAIL_INSTEAD_OF_RAISE))
        Type |= POOL_RAISE_IF_ALLOCATION_FAILURE;
    return ExAllocateHeapPool(Type, NumberOfBytes, Tag);
}

// FALSE when the flags name no pool, or several.
BOOLEAN ExpPoolFlagsToPoolType(ULONG64 Flags, PULONG PoolType)
{
    ULONG Type;

    switch (Flags & (POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED)) {
    case POOL_FLAG_NON_PAGED:
        Type = NonPagedPoolNx;
        break;
    case POOL_FLAG_NON_PAGED_EXECUTE:
        Type = NonPagedPoolExecute;
        break;
    case POOL_FLAG_PAGED:
        Type = PagedPool;
        break;
    default:
        return FALSE;
    }
    if (!(Flags & POOL_FLAG_UNINITIALIZED))
        Type |= POOL_ZERO_ALLOCATION;
    if (Flags & POOL_FLAG_CACHE_ALIGNED)
        Type |= POOL_CACHE_ALIGNED;
    if (Flags & POOL_FLAG_RAISE_ON_FAILURE)
        Type |= POOL_RAISE_IF_ALLOCATION_FAILURE;
    if ((Flags & POOL_FLAG_USE_QUOTA) && PsGetCurrentProcess() != PsInitialSystemProcess)
        Type |= POOL_HEADER_QUOTA;
    *PoolType = Type;
    return TRUE;
}

PVOID ExAllocatePool2(ULONG64 Flags, SIZE_T NumberOfBytes, ULONG Tag)
{
    ULONG Type;

    if (Tag == 0 || !ExpPoolFlagsToPoolType(Flags, &Type))
        return NULL;
    return ExAllocateHeapPool(Type, NumberOfBytes, Tag);
}

FORCEINLINE VOID ExpCheckFreeIrql(PVOID P, ULONG PoolType)
{
    if (__readcr8() > (PoolType & PagedPool ? APC_LEVEL : DISPATCH_LEVEL))
        KeBugCheckEx(BAD_POOL_CALLER, POOL_CALLER_FREE_IRQL, KeGetCurrentIrql(), PoolType,
                     (ULONG_PTR)P);
}

FORCEINLINE VOID ExpCheckFreeTag(PVOID P, ULONG BlockTag, ULONG Tag)
{
    if ((BlockTag & PROTECTED_POOL) && (BlockTag & ~PROTECTED_POOL) != (Tag & ~PROTECTED_POOL))
        KeBugCheckEx(BAD_POOL_CALLER, POOL_CALLER_WRONG_TAG, (ULONG_PTR)P, BlockTag, Tag);
}

// The heap chunk behind a small block, after checking everything its headers say.
static PVOID ExpCheckPoolHeader(PSEGMENT_HEAP Heap, PVOID P)
{
    PPOOL_HEADER Header = (PPOOL_HEADER)P - 1;
    BOOLEAN Moved = (Header->PoolType & POOL_CACHE_ALIGNED) != 0;
    SIZE_T Offset = Moved ? (SIZE_T)Header->PreviousSize << POOL_BLOCK_SHIFT : 0;
    PVOID Chunk = (PUCHAR)Header - Offset;
    SIZE_T Needed =
        ((SIZE_T)Header->BlockSize << POOL_BLOCK_SHIFT) + (Moved ? CACHE_ALIGN_SLACK : 0);
    SIZE_T Size = RtlpHpVsBlockSize(&Heap->VsContext, Chunk);

    if (Size == 0)
        KeBugCheckEx(BAD_POOL_CALLER, POOL_CALLER_ALREADY_FREED, Header->PoolTag, Header->Ulong1,
                     (ULONG_PTR)P);
    // The heap may have added one unit that was too small for a chunk of its own.
    if (!(Header->PoolType & POOL_HEADER_IN_USE) || Size < Needed ||
        Size > Needed + POOL_BLOCK_SIZE)
        KeBugCheckEx(BAD_POOL_HEADER, POOL_HEADER_CORRUPT, (ULONG_PTR)Header,
                     (ULONG_PTR)Chunk + Size, Header->Ulong1);
    return Chunk;
}

FORCEINLINE VOID ExpFreeSmall(PVOID P, ULONG Tag)
{
    PPOOL_HEADER Header = (PPOOL_HEADER)P - 1;
    PHEAP_SEG_CONTEXT Context = RtlpHpSegContextFromAddress(P);
    PHEAP_PAGE_RANGE_DESCRIPTOR Range = Context == NULL ? NULL : RtlpHpSegDescriptor(Context, P);
    PVOID Chunk;

    if (Range == NULL ||
        (Range->RangeFlags & RTLP_HP_RANGE_TYPE_MASK) != RTLP_HP_RANGE_TYPE(HeapSegRangeVS))
        KeBugCheckEx(BAD_POOL_CALLER, POOL_CALLER_BAD_ADDRESS, (ULONG_PTR)P, 0, 0);
    Chunk = ExpCheckPoolHeader(Context->Heap, P);
    ExpCheckFreeIrql(P, Header->PoolType);
    ExpCheckFreeTag(P, Header->PoolTag, Tag);
    if (Header->PoolType & POOL_VERIFIER)
        VfFreePoolNotification(P, (PUCHAR)Header + (Header->BlockSize << POOL_BLOCK_SHIFT),
                               Header->PoolType);
    ExpCheckHitTag(Header->PoolTag & ~PROTECTED_POOL);
    ExpUpdatePoolTracker(Header->PoolTag & ~PROTECTED_POOL,
                         -((LONG64)Header->BlockSize << POOL_BLOCK_SHIFT), Header->PoolType);
    Header->PoolType = 0;
    RtlpHpVsContextFree(Context->VsContext, Chunk);
}

FORCEINLINE VOID ExpFreeBig(PVOID P, ULONG Tag)
{
    PSEGMENT_HEAP Heap = RtlpHpHeapFromAddress(P);
    POOL_TRACKER_BIG_PAGES Entry;

    if (Heap == NULL || !ExpQueryBigPages(P, &Entry))
        KeBugCheckEx(BAD_POOL_CALLER, POOL_CALLER_BAD_ADDRESS, (ULONG_PTR)P, 0, 0);
    ExpCheckFreeIrql(P, Entry.PoolType);
    ExpCheckFreeTag(P, Entry.Key, Tag);
    if (Entry.PoolType & POOL_VERIFIER)
        VfFreePoolNotification(P, (PUCHAR)P + Entry.NumberOfBytes, Entry.PoolType);
    ExpRemoveTagForBigPages(P, &Entry);
    ExpCheckHitTag(Entry.Key & ~PROTECTED_POOL);
    ExpUpdatePoolTracker(Entry.Key & ~PROTECTED_POOL, -(LONG64)Entry.NumberOfBytes, Entry.PoolType);
    RtlpHpFreeHeap(Heap, P);
}

VOID ExFreeHeapPool(PVOID P, ULONG Tag)
{
    if ((ULONG64)P < (ULONG64)MmSystemRangeStart)
        KeBugCheckEx(BAD_POOL_CALLER, POOL_CALLER_USER_ADDRESS, (ULONG_PTR)P,
                     (ULONG_PTR)MmSystemRangeStart, 0);
    if (BYTE_OFFSET(P) == 0)
        ExpFreeBig(P, Tag);
    else
        ExpFreeSmall(P, Tag);
}

VOID ExFreePoolWithTag(PVOID P, ULONG Tag)
{
    ExFreeHeapPool(P, Tag);
}

VOID ExFreePool(PVOID P)
{
    ExFreePoolWithTag(P, 0);
}

// Bytes the block really has.
SIZE_T ExQueryPoolBlockSize(PVOID P, PBOOLEAN QuotaCharged)
{
    POOL_TRACKER_BIG_PAGES Entry;
    PPOOL_HEADER Header = (PPOOL_HEADER)P - 1;

    *QuotaCharged = FALSE;
    if (BYTE_OFFSET(P) == 0)
        return ExpQueryBigPages(P, &Entry) ? Entry.NumberOfBytes : 0;
    *QuotaCharged = (Header->PoolType & POOL_HEADER_QUOTA) != 0;
    return ((SIZE_T)Header->BlockSize << POOL_BLOCK_SHIFT) - sizeof(POOL_HEADER);
}
