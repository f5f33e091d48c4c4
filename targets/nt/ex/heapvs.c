// Variable size chunks: subsegments of 64 KiB, cut into chunks of 16-byte units. Every chunk begins
// with a header whose first 8 bytes are encoded with the chunk's address and the heap key; free
// chunks of all subsegments stand in one tree, ordered by size: best fit. Neighbours that are free
// are joined.
#include "heap.h"

typedef HEAP_VS_CHUNK_HEADER CHUNK;
typedef HEAP_VS_CHUNK_FREE_HEADER FREE_CHUNK;

VOID RtlpHpVsContextInitialize(PSEGMENT_HEAP Heap)
{
    PHEAP_VS_CONTEXT Context = &Heap->VsContext;

    InitializeListHead(&Context->SubsegmentList);
    Context->BackendCtx = &Heap->SegContexts[0];
}

FORCEINLINE HEAP_VS_CHUNK_HEADER_SIZE RtlpHpVsDecode(const CHUNK *Chunk)
{
    HEAP_VS_CHUNK_HEADER_SIZE Sizes = Chunk->Sizes;

    Sizes.HeaderBits ^= (ULONG64)Chunk ^ RtlpHpHeapGlobals.HeapKey;
    return Sizes;
}

FORCEINLINE VOID RtlpHpVsEncode(CHUNK *Chunk, HEAP_VS_CHUNK_HEADER_SIZE Sizes)
{
    Chunk->Sizes.HeaderBits = Sizes.HeaderBits ^ (ULONG64)Chunk ^ RtlpHpHeapGlobals.HeapKey;
}

FORCEINLINE CHUNK *RtlpHpVsChunkAfter(CHUNK *Chunk, ULONG Units)
{
    return (CHUNK *)((PUCHAR)Chunk + ((SIZE_T)Units << RTLP_HP_VS_UNIT_SHIFT));
}

FORCEINLINE CHUNK *RtlpHpVsEnd(PHEAP_VS_SUBSEGMENT Subsegment)
{
    return RtlpHpVsChunkAfter((CHUNK *)Subsegment, Subsegment->Size);
}

// The distance in pages from the subsegment's start, encoded with the low byte of address and key.
FORCEINLINE UCHAR RtlpHpVsPageOffsetKey(const CHUNK *Chunk)
{
    return (UCHAR)((ULONG64)Chunk ^ RtlpHpHeapGlobals.HeapKey);
}

// A chunk in use says where its subsegment begins; a free one has its tree node there.
FORCEINLINE PHEAP_VS_SUBSEGMENT RtlpHpVsSubsegment(CHUNK *Chunk)
{
    ULONG Pages = (UCHAR)(Chunk->EncodedSegmentPageOffset ^ RtlpHpVsPageOffsetKey(Chunk));

    return (PHEAP_VS_SUBSEGMENT)((PUCHAR)PAGE_ALIGN(Chunk) - (SIZE_T)Pages * PAGE_SIZE);
}

FORCEINLINE VOID RtlpHpVsWriteChunk(CHUNK *Chunk, ULONG Units, ULONG PreviousUnits,
                                    BOOLEAN Allocated)
{
    HEAP_VS_CHUNK_HEADER_SIZE Sizes = {0};

    Sizes.UnsafeSize = Units;
    Sizes.UnsafePrevSize = PreviousUnits;
    Sizes.Allocated = Allocated;
    RtlpHpVsEncode(Chunk, Sizes);
}

FORCEINLINE VOID RtlpHpVsSetPreviousSize(CHUNK *Chunk, CHUNK *End, ULONG PreviousUnits)
{
    HEAP_VS_CHUNK_HEADER_SIZE Sizes;

    if (Chunk == End)
        return;
    Sizes = RtlpHpVsDecode(Chunk);
    Sizes.UnsafePrevSize = PreviousUnits;
    RtlpHpVsEncode(Chunk, Sizes);
}

FORCEINLINE ULONG RtlpHpVsNodeUnits(PRTL_BALANCED_NODE Node)
{
    return RtlpHpVsDecode(&CONTAINING_RECORD(Node, FREE_CHUNK, Node)->Header).UnsafeSize;
}

static VOID RtlpHpVsInsertFree(PHEAP_VS_CONTEXT Context, CHUNK *Chunk, ULONG Units,
                               ULONG PreviousUnits)
{
    PRTL_BALANCED_NODE Parent = NULL, Next = Context->FreeChunkTree.Root;
    BOOLEAN Right = FALSE;

    RtlpHpVsWriteChunk(Chunk, Units, PreviousUnits, FALSE);
    while (Next != NULL) {
        Parent = Next;
        Right = Units >= RtlpHpVsNodeUnits(Next);
        Next = Next->Children[Right];
    }
    RtlRbInsertNodeEx(&Context->FreeChunkTree, Parent, Right, &((FREE_CHUNK *)Chunk)->Node);
    Context->FreeCommittedUnits += Units;
}

FORCEINLINE VOID RtlpHpVsRemoveFree(PHEAP_VS_CONTEXT Context, CHUNK *Chunk)
{
    Context->FreeCommittedUnits -= RtlpHpVsDecode(Chunk).UnsafeSize;
    RtlRbRemoveNode(&Context->FreeChunkTree, &((FREE_CHUNK *)Chunk)->Node);
}

// Units to leave free at the chunk's front: a page-aligned pool block would look like big pool, so
// the block of a chunk that ends one _POOL_HEADER before a page border has to move on.
FORCEINLINE ULONG RtlpHpVsLeadUnits(CHUNK *Chunk)
{
    return BYTE_OFFSET(Chunk + 1) == PAGE_SIZE - sizeof(POOL_HEADER) ? RTLP_HP_VS_MIN_UNITS : 0;
}

// The smallest free chunk that can hold Units, out of the tree.
static CHUNK *RtlpHpVsFindFree(PHEAP_VS_CONTEXT Context, ULONG Units)
{
    PRTL_BALANCED_NODE Next = Context->FreeChunkTree.Root, Best = NULL;

    while (Next != NULL) {
        BOOLEAN Fits = RtlpHpVsNodeUnits(Next) >= Units;
        if (Fits)
            Best = Next;
        Next = Next->Children[!Fits];
    }
    for (; Best != NULL; Best = RtlpRbNextNode(Best)) {
        CHUNK *Chunk = &CONTAINING_RECORD(Best, FREE_CHUNK, Node)->Header;
        if (RtlpHpVsNodeUnits(Best) >= Units + RtlpHpVsLeadUnits(Chunk)) {
            RtlpHpVsRemoveFree(Context, Chunk);
            return Chunk;
        }
    }
    return NULL;
}

// Cuts Units out of a free chunk that is no longer in the tree; what is left over goes back.
static CHUNK *RtlpHpVsChunkSplit(PHEAP_VS_CONTEXT Context, CHUNK *Chunk, ULONG Units)
{
    PHEAP_SEG_CONTEXT Segments = Context->BackendCtx;
    PHEAP_VS_SUBSEGMENT Subsegment =
        RtlpHpSegRangeAddress(Segments, RtlpHpSegDescriptor(Segments, Chunk));
    HEAP_VS_CHUNK_HEADER_SIZE Sizes = RtlpHpVsDecode(Chunk);
    ULONG Lead = RtlpHpVsLeadUnits(Chunk), Rest = Sizes.UnsafeSize - Lead - Units;
    ULONG Previous = Sizes.UnsafePrevSize;
    CHUNK *Next = RtlpHpVsChunkAfter(Chunk, Sizes.UnsafeSize);

    if (Lead != 0) {
        RtlpHpVsInsertFree(Context, Chunk, Lead, Previous);
        Chunk = RtlpHpVsChunkAfter(Chunk, Lead);
        Previous = Lead;
    }
    if (Rest < RTLP_HP_VS_MIN_UNITS) {
        Units += Rest;
        Rest = 0;
    }
    RtlpHpVsWriteChunk(Chunk, Units, Previous, TRUE);
    Chunk->AllocatedChunkBits = 0;
    Chunk->EncodedSegmentPageOffset =
        (ULONG)(((PUCHAR)Chunk - (PUCHAR)Subsegment) >> PAGE_SHIFT) ^ RtlpHpVsPageOffsetKey(Chunk);
    if (Rest != 0)
        RtlpHpVsInsertFree(Context, RtlpHpVsChunkAfter(Chunk, Units), Rest, Units);
    RtlpHpVsSetPreviousSize(Next, RtlpHpVsEnd(Subsegment), Rest != 0 ? Rest : Units);
    return Chunk;
}

static BOOLEAN RtlpHpVsSubsegmentCreate(PHEAP_VS_CONTEXT Context)
{
    PHEAP_VS_SUBSEGMENT Subsegment =
        RtlpHpSegAlloc(Context->BackendCtx, RTLP_HP_VS_SUBSEGMENT_SIZE, HeapSegRangeVS);
    ULONG Units = (RTLP_HP_VS_SUBSEGMENT_SIZE - RTLP_HP_VS_FIRST_CHUNK) >> RTLP_HP_VS_UNIT_SHIFT;
    KIRQL Irql;

    if (Subsegment == NULL)
        return FALSE;
    Subsegment->Size = RTLP_HP_VS_SUBSEGMENT_SIZE >> RTLP_HP_VS_UNIT_SHIFT;
    Subsegment->Signature = Subsegment->Size ^ RTLP_HP_VS_SIGNATURE;
    Subsegment->FullCommit = 1;
    Subsegment->CommitBitmap = ~0ull >> (64 - (RTLP_HP_VS_SUBSEGMENT_SIZE >> PAGE_SHIFT));
    Irql = KeAcquireSpinLockRaiseToDpc(&Context->Lock);
    InsertTailList(&Context->SubsegmentList, &Subsegment->ListEntry);
    Context->TotalCommittedUnits += Subsegment->Size;
    RtlpHpVsInsertFree(Context, (CHUNK *)((PUCHAR)Subsegment + RTLP_HP_VS_FIRST_CHUNK), Units, 0);
    KeReleaseSpinLock(&Context->Lock, Irql);
    return TRUE;
}

PVOID RtlpHpVsContextAllocate(PHEAP_VS_CONTEXT Context, SIZE_T Size)
{
    ULONG Units = (ULONG)((Size + sizeof(CHUNK) + RTLP_HP_VS_UNIT - 1) >> RTLP_HP_VS_UNIT_SHIFT);

    do {
        KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&Context->Lock);
        CHUNK *Chunk = RtlpHpVsFindFree(Context, Units);
        if (Chunk != NULL)
            Chunk = RtlpHpVsChunkSplit(Context, Chunk, Units);
        KeReleaseSpinLock(&Context->Lock, Irql);
        if (Chunk != NULL)
            return Chunk + 1;
    } while (RtlpHpVsSubsegmentCreate(Context));
    return NULL;
}

// Joins the chunk with free neighbours and puts the result into the tree. Returns the subsegment
// when nothing in it is in use any more and another one exists; it is then out of all lists.
static PHEAP_VS_SUBSEGMENT RtlpHpVsChunkCoalesce(PHEAP_VS_CONTEXT Context, CHUNK *Chunk,
                                                 PHEAP_VS_SUBSEGMENT Subsegment)
{
    HEAP_VS_CHUNK_HEADER_SIZE Sizes = RtlpHpVsDecode(Chunk), Other;
    ULONG Units = Sizes.UnsafeSize, Previous = Sizes.UnsafePrevSize;
    CHUNK *End = RtlpHpVsEnd(Subsegment), *Next = RtlpHpVsChunkAfter(Chunk, Units);

    // Joined with its predecessor, the chunk keeps this as its last header: a second free will see
    // it.
    RtlpHpVsWriteChunk(Chunk, Units, Previous, FALSE);
    if (Next != End) {
        Other = RtlpHpVsDecode(Next);
        if (!Other.Allocated) {
            RtlpHpVsRemoveFree(Context, Next);
            Units += Other.UnsafeSize;
        }
    }
    if (Previous != 0) {
        CHUNK *Before = (CHUNK *)((PUCHAR)Chunk - ((SIZE_T)Previous << RTLP_HP_VS_UNIT_SHIFT));
        Other = RtlpHpVsDecode(Before);
        if (!Other.Allocated) {
            RtlpHpVsRemoveFree(Context, Before);
            Units += Other.UnsafeSize;
            Previous = Other.UnsafePrevSize;
            Chunk = Before;
        }
    }
    Next = RtlpHpVsChunkAfter(Chunk, Units);
    if (Previous == 0 && Next == End &&
        Context->SubsegmentList.Flink != Context->SubsegmentList.Blink) {
        RemoveEntryList(&Subsegment->ListEntry);
        Context->TotalCommittedUnits -= Subsegment->Size;
        return Subsegment;
    }
    RtlpHpVsInsertFree(Context, Chunk, Units, Previous);
    RtlpHpVsSetPreviousSize(Next, End, Units);
    return NULL;
}

// Bytes of a block, 0 when it is not in use. Everything the chunk's header says is checked; no lock
// is needed, since nobody else changes the header of a chunk in use or its neighbour's idea of its
// size.
SIZE_T RtlpHpVsBlockSize(PHEAP_VS_CONTEXT Context, PVOID Block)
{
    CHUNK *Chunk = (CHUNK *)Block - 1;
    PHEAP_SEG_CONTEXT Segments = Context->BackendCtx;
    PHEAP_PAGE_RANGE_DESCRIPTOR Range = RtlpHpSegDescriptor(Segments, Chunk);
    HEAP_VS_CHUNK_HEADER_SIZE Sizes = RtlpHpVsDecode(Chunk);
    CHUNK *Next = RtlpHpVsChunkAfter(Chunk, Sizes.UnsafeSize);
    PHEAP_VS_SUBSEGMENT Subsegment;

    if (Range == NULL || Sizes.Allocated > 1 || Sizes.UnsafeSize < RTLP_HP_VS_MIN_UNITS)
        RtlpHeapHandleError(HeapFailureEntryCorruption, Context, Block);
    if (!Sizes.Allocated)
        return 0;
    Subsegment = RtlpHpSegRangeAddress(Segments, Range);
    if (((Subsegment->Size ^ RTLP_HP_VS_SIGNATURE) & 0x7FFF) != Subsegment->Signature ||
        Next > RtlpHpVsEnd(Subsegment) ||
        RtlpHpVsSubsegment(Chunk) != Subsegment ||
        (Next != RtlpHpVsEnd(Subsegment) &&
         RtlpHpVsDecode(Next).UnsafePrevSize != Sizes.UnsafeSize))
        RtlpHeapHandleError(HeapFailureEntryCorruption, Context, Block);
    return ((SIZE_T)Sizes.UnsafeSize << RTLP_HP_VS_UNIT_SHIFT) - sizeof(CHUNK);
}

// The block has passed RtlpHpVsBlockSize.
VOID RtlpHpVsContextFree(PHEAP_VS_CONTEXT Context, PVOID Block)
{
    CHUNK *Chunk = (CHUNK *)Block - 1;
    PHEAP_VS_SUBSEGMENT Empty;
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&Context->Lock);

    if (!RtlpHpVsDecode(Chunk).Allocated)
        RtlpHeapHandleError(HeapFailureBlockNotBusy, Context, Block);
    Empty = RtlpHpVsChunkCoalesce(Context, Chunk, RtlpHpVsSubsegment(Chunk));
    KeReleaseSpinLock(&Context->Lock, Irql);
    if (Empty != NULL)
        RtlpHpSegFree(Context->BackendCtx, Empty);
}
