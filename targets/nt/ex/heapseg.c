// Page ranges: segments of 1 MiB (units of a page) and of 16 MiB (units of 64 KiB). A segment
// begins with 256 descriptors, one per unit; the first of them are the header itself. Free ranges
// of all segments of a context stand in one tree, ordered by _HEAP_DESCRIPTOR_KEY: best fit.
#include "heap.h"

#define SEGMENT_UNITS 256
#define HEADER_PAGES (sizeof(HEAP_PAGE_SEGMENT) >> PAGE_SHIFT)

typedef HEAP_PAGE_RANGE_DESCRIPTOR RANGE;

VOID RtlpHpSegContextInitialize(PSEGMENT_HEAP Heap, ULONG Index)
{
    PHEAP_SEG_CONTEXT Context = &Heap->SegContexts[Index];

    Context->UnitShift = Index == 0 ? PAGE_SHIFT : 16;
    Context->PagesPerUnitShift = Context->UnitShift - PAGE_SHIFT;
    Context->SegmentMask = ~(((ULONG64)SEGMENT_UNITS << Context->UnitShift) - 1);
    Context->FirstDescriptorIndex = Index == 0 ? HEADER_PAGES : 1;
    // 508 KiB and 7.9 MiB: just below half of what a segment holds.
    Context->MaxAllocationSize = (SEGMENT_UNITS / 2 - 1) << Context->UnitShift;
    Context->LfhContext = &Heap->LfhContext;
    Context->VsContext = &Heap->VsContext;
    Context->EnvHandle = Heap->EnvHandle;
    Context->Heap = Heap;
    InitializeListHead(&Context->SegmentListHead);
}

static ULONG64 RtlpHpSegSignature(PHEAP_PAGE_SEGMENT Segment, PHEAP_SEG_CONTEXT Context)
{
    return (ULONG64)Segment ^ (ULONG64)Context ^ RtlpHpHeapGlobals.HeapKey ^
           RTLP_HP_SEGMENT_SIGNATURE;
}

// The context of the segment that holds Address, NULL when no heap owns it.
PHEAP_SEG_CONTEXT RtlpHpSegContextFromAddress(PVOID Address)
{
    ULONG Owner = RtlpHpAllocTrackerQuery(Address);
    PHEAP_PAGE_SEGMENT Segment;
    ULONG64 Size;

    if (Owner != RtlpHpSegmentSm + 1 && Owner != RtlpHpSegmentLg + 1)
        return NULL;
    Size = (Owner == RtlpHpSegmentSm + 1 ? 1 : 16) * RTLP_HP_MEGABYTE;
    Segment = (PHEAP_PAGE_SEGMENT)((ULONG64)Address & ~(Size - 1));
    return (PHEAP_SEG_CONTEXT)(Segment->Signature ^ (ULONG64)Segment ^ RtlpHpHeapGlobals.HeapKey ^
                               RTLP_HP_SEGMENT_SIGNATURE);
}

// Describes Units units from Range on as free and puts them into the tree.
static VOID RtlpHpSegInsertFree(PHEAP_SEG_CONTEXT Context, RANGE *Range, ULONG Units)
{
    PRTL_BALANCED_NODE Parent = NULL, Next = Context->FreePageRanges.Root;
    BOOLEAN Right = FALSE;

    memset(Range, 0, Units * sizeof(*Range));
    Range[Units - 1].UnitOffset = (UCHAR)(Units - 1);
    Range->RangeFlags = RTLP_HP_RANGE_FIRST;
    // No page of a free range is committed; the encoding sorts committed ones first.
    Range->Key.EncodedCommittedPageCount = 0xFFFF;
    Range->Key.UnitCount = Units;
    while (Next != NULL) {
        Parent = Next;
        Right = Range->Key.Key >= CONTAINING_RECORD(Next, RANGE, TreeNode)->Key.Key;
        Next = Next->Children[Right];
    }
    RtlRbInsertNodeEx(&Context->FreePageRanges, Parent, Right, &Range->TreeNode);
}

// The smallest free range of at least Units units, out of the tree.
static RANGE *RtlpHpSegRemoveFree(PHEAP_SEG_CONTEXT Context, ULONG Units)
{
    PRTL_BALANCED_NODE Next = Context->FreePageRanges.Root;
    RANGE *Best = NULL;

    while (Next != NULL) {
        RANGE *Range = CONTAINING_RECORD(Next, RANGE, TreeNode);
        BOOLEAN Fits = Range->UnitSize >= Units;
        if (Fits)
            Best = Range;
        Next = Next->Children[!Fits];
    }
    if (Best != NULL)
        RtlRbRemoveNode(&Context->FreePageRanges, &Best->TreeNode);
    return Best;
}

static VOID RtlpHpSegMarkAllocated(RANGE *Range, ULONG Units, HEAP_SEG_RANGE_TYPE Type,
                                   SIZE_T Pages, SIZE_T UnusedBytes)
{
    memset(Range, 0, Units * sizeof(*Range));
    for (ULONG i = 0; i < Units; i++) {
        Range[i].RangeFlags = RTLP_HP_RANGE_ALLOCATED | (UCHAR)RTLP_HP_RANGE_TYPE(Type);
        Range[i].UnitOffset = (UCHAR)i;
    }
    Range->RangeFlags |= RTLP_HP_RANGE_FIRST;
    Range->TreeSignature = RTLP_HP_RANGE_SIGNATURE;
    Range->UnusedBytes = (ULONG)UnusedBytes;
    Range->CommittedPageCount = (UCHAR)(Pages > 0xFF ? 0xFF : Pages);
    Range->Key.EncodedCommittedPageCount = (USHORT)~Pages;
    Range->Key.UnitCount = Units;
}

static BOOLEAN RtlpHpSegSegmentAllocate(PHEAP_SEG_CONTEXT Context)
{
    ULONG Large = Context->PagesPerUnitShift != 0;
    PSEGMENT_HEAP Heap = Context->Heap;
    PHEAP_PAGE_SEGMENT Segment = RtlpHpVaMgrAllocate(Heap, Large ? 16 : 1, Large);
    KIRQL Irql;

    if (Segment == NULL)
        return FALSE;
    if (!NT_SUCCESS(MiCommitSystemPages(Segment, HEADER_PAGES, MM_READWRITE))) {
        RtlpHpVaMgrFree(Segment, Large ? 16 : 1);
        return FALSE;
    }
    Segment->Signature = RtlpHpSegSignature(Segment, Context);
    Irql = KeAcquireSpinLockRaiseToDpc(&Context->SegmentLock);
    InsertTailList(&Context->SegmentListHead, &Segment->ListEntry);
    Context->SegmentCount++;
    Heap->MemStats.TotalReservedPages += (ULONG64)SEGMENT_UNITS << Context->PagesPerUnitShift;
    RtlpHpSegInsertFree(Context, &Segment->DescArray[Context->FirstDescriptorIndex],
                        SEGMENT_UNITS - Context->FirstDescriptorIndex);
    KeReleaseSpinLock(&Context->SegmentLock, Irql);
    return TRUE;
}

static RANGE *RtlpHpSegPageRangeAllocate(PHEAP_SEG_CONTEXT Context, SIZE_T Size,
                                         HEAP_SEG_RANGE_TYPE Type)
{
    ULONG Units = (ULONG)((Size + (1ull << Context->UnitShift) - 1) >> Context->UnitShift);
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&Context->SegmentLock);
    RANGE *Range = RtlpHpSegRemoveFree(Context, Units);

    if (Range != NULL) {
        ULONG Rest = Range->UnitSize - Units;
        if (Rest != 0)
            RtlpHpSegInsertFree(Context, Range + Units, Rest);
        RtlpHpSegMarkAllocated(Range, Units, Type, BYTES_TO_PAGES(Size),
                               ((SIZE_T)Units << Context->UnitShift) - Size);
    }
    KeReleaseSpinLock(&Context->SegmentLock, Irql);
    return Range;
}

static VOID RtlpHpSegPageRangeFree(PHEAP_SEG_CONTEXT Context, RANGE *Range)
{
    PHEAP_PAGE_SEGMENT Segment = RtlpHpSegFromAddress(Context, Range);
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&Context->SegmentLock);
    ULONG Units = Range->UnitSize;
    RANGE *Next = Range + Units, *Last = Range - 1;

    if (Next < Segment->DescArray + SEGMENT_UNITS &&
        !(Next->RangeFlags & RTLP_HP_RANGE_ALLOCATED)) {
        RtlRbRemoveNode(&Context->FreePageRanges, &Next->TreeNode);
        Units += Next->UnitSize;
    }
    if (Last >= Segment->DescArray + Context->FirstDescriptorIndex &&
        !(Last->RangeFlags & RTLP_HP_RANGE_ALLOCATED)) {
        RANGE *Before = Last->RangeFlags & RTLP_HP_RANGE_FIRST ? Last : Last - Last->UnitOffset;
        RtlRbRemoveNode(&Context->FreePageRanges, &Before->TreeNode);
        Units += Before->UnitSize;
        Range = Before;
    }
    RtlpHpSegInsertFree(Context, Range, Units);
    KeReleaseSpinLock(&Context->SegmentLock, Irql);
}

PVOID RtlpHpSegAlloc(PHEAP_SEG_CONTEXT Context, SIZE_T Size, HEAP_SEG_RANGE_TYPE Type)
{
    PSEGMENT_HEAP Heap = Context->Heap;
    RANGE *Range;
    PVOID Address;

    while ((Range = RtlpHpSegPageRangeAllocate(Context, Size, Type)) == NULL)
        if (!RtlpHpSegSegmentAllocate(Context))
            return NULL;
    Address = RtlpHpSegRangeAddress(Context, Range);
    if (!NT_SUCCESS(MiCommitSystemPages(Address, BYTES_TO_PAGES(Size),
                                        RtlpHpCommitProtection(Heap)))) {
        RtlpHpSegPageRangeFree(Context, Range);
        return NULL;
    }
    InterlockedExchangeAdd64((LONG64 *)&Heap->MemStats.TotalCommittedPages, BYTES_TO_PAGES(Size));
    return Address;
}

// FALSE when no range in use begins at Address.
BOOLEAN RtlpHpSegFree(PHEAP_SEG_CONTEXT Context, PVOID Address)
{
    PSEGMENT_HEAP Heap = Context->Heap;
    RANGE *Range = RtlpHpSegDescriptor(Context, Address);
    SIZE_T Pages;

    if (Range == NULL || RtlpHpSegRangeAddress(Context, Range) != Address)
        return FALSE;
    Pages = (USHORT)~Range->Key.EncodedCommittedPageCount;
    MiDecommitSystemPages(Address, Pages);
    InterlockedExchangeAdd64((LONG64 *)&Heap->MemStats.TotalCommittedPages, -(LONG64)Pages);
    RtlpHpSegPageRangeFree(Context, Range);
    return TRUE;
}
