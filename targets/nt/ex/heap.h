// The segment heap in the form the kernel's pool uses it (19041), reduced: page ranges and variable
// size (VS) chunks are complete, the low-fragmentation front end is present and never activated.
#pragma once
#include "ex.h"

#define RTLP_HP_HEAP_SIGNATURE 0xDDEEDDEE
#define RTLP_HP_SEGMENT_SIGNATURE 0xA2E64EADA2E64EADull
#define RTLP_HP_RANGE_SIGNATURE 0xCCDDCCDD
#define RTLP_HP_VS_SIGNATURE 0x2BED

// _HEAP_PAGE_RANGE_DESCRIPTOR.RangeFlags
#define RTLP_HP_RANGE_ALLOCATED 1
#define RTLP_HP_RANGE_FIRST 2
#define RTLP_HP_RANGE_TYPE(type) ((type) << 2)
#define RTLP_HP_RANGE_TYPE_MASK 0xC

#define RTLP_HP_MEGABYTE_SHIFT 20
#define RTLP_HP_MEGABYTE (1ull << RTLP_HP_MEGABYTE_SHIFT)

// VS chunks are counted in 16-byte units; a free one holds its tree node.
#define RTLP_HP_VS_UNIT_SHIFT 4
#define RTLP_HP_VS_UNIT (1u << RTLP_HP_VS_UNIT_SHIFT)
#define RTLP_HP_VS_MIN_UNITS (sizeof(HEAP_VS_CHUNK_FREE_HEADER) >> RTLP_HP_VS_UNIT_SHIFT)
#define RTLP_HP_VS_FIRST_CHUNK 0x30
#define RTLP_HP_VS_SUBSEGMENT_SIZE 0x10000

typedef enum _HEAP_CORRUPTION {    // first parameter of KERNEL_MODE_HEAP_CORRUPTION
    HeapFailureUnknown = 2,
    HeapFailureEntryCorruption = 3,
    HeapFailureBlockNotBusy = 8,
} HEAP_CORRUPTION;

extern RTLP_HP_HEAP_GLOBALS RtlpHpHeapGlobals;

// heapva.c: address space in megabytes; _RTLP_HP_ALLOC_TRACKER knows who owns each.
VOID RtlpHpVaMgrInitialize(PKDSIM_LOADER_BLOCK LoaderBlock);
PVOID RtlpHpVaMgrAllocate(PSEGMENT_HEAP Heap, ULONG Megabytes, RTLP_HP_ALLOCATOR Owner);
VOID RtlpHpVaMgrFree(PVOID Address, ULONG Megabytes);
ULONG RtlpHpAllocTrackerQuery(PVOID Address);   // 0: nobody, else _RTLP_HP_ALLOCATOR + 1
ULONG RtlpHpCommitProtection(PSEGMENT_HEAP Heap);

// heapseg.c: page ranges
VOID RtlpHpSegContextInitialize(PSEGMENT_HEAP Heap, ULONG Index);
PVOID RtlpHpSegAlloc(PHEAP_SEG_CONTEXT Context, SIZE_T Size, HEAP_SEG_RANGE_TYPE Type);
BOOLEAN RtlpHpSegFree(PHEAP_SEG_CONTEXT Context, PVOID Address);

FORCEINLINE PHEAP_PAGE_SEGMENT RtlpHpSegFromAddress(PHEAP_SEG_CONTEXT Context, PVOID Address)
{
    return (PHEAP_PAGE_SEGMENT)((ULONG64)Address & Context->SegmentMask);
}

// The first descriptor of the range in use that holds Address, NULL when there is none.
FORCEINLINE PHEAP_PAGE_RANGE_DESCRIPTOR RtlpHpSegDescriptor(PHEAP_SEG_CONTEXT Context,
                                                            PVOID Address)
{
    PHEAP_PAGE_SEGMENT Segment = RtlpHpSegFromAddress(Context, Address);
    ULONG Unit = (ULONG)(((ULONG64)Address - (ULONG64)Segment) >> Context->UnitShift);
    PHEAP_PAGE_RANGE_DESCRIPTOR Range = &Segment->DescArray[Unit];

    if (Unit < Context->FirstDescriptorIndex || !(Range->RangeFlags & RTLP_HP_RANGE_ALLOCATED))
        return NULL;
    return Range->RangeFlags & RTLP_HP_RANGE_FIRST ? Range : Range - Range->UnitOffset;
}

FORCEINLINE PVOID RtlpHpSegRangeAddress(PHEAP_SEG_CONTEXT Context,
                                        PHEAP_PAGE_RANGE_DESCRIPTOR Range)
{
    PHEAP_PAGE_SEGMENT Segment = RtlpHpSegFromAddress(Context, Range);

    return (PUCHAR)Segment + ((ULONG64)(Range - Segment->DescArray) << Context->UnitShift);
}

PHEAP_SEG_CONTEXT RtlpHpSegContextFromAddress(PVOID Address);

// heapvs.c: chunks
VOID RtlpHpVsContextInitialize(PSEGMENT_HEAP Heap);
PVOID RtlpHpVsContextAllocate(PHEAP_VS_CONTEXT Context, SIZE_T Size);
VOID RtlpHpVsContextFree(PHEAP_VS_CONTEXT Context, PVOID Block);
SIZE_T RtlpHpVsBlockSize(PHEAP_VS_CONTEXT Context, PVOID Block);   // 0: not a block in use

// heap.c
PSEGMENT_HEAP RtlpHpHeapCreate(PVOID Address, EX_HEAP_TYPE Type);
PVOID RtlpHpAllocateHeap(PSEGMENT_HEAP Heap, SIZE_T Size);
BOOLEAN RtlpHpFreeHeap(PSEGMENT_HEAP Heap, PVOID Block);
PSEGMENT_HEAP RtlpHpHeapFromAddress(PVOID Address);
DECLSPEC_NORETURN VOID RtlpHeapHandleError(HEAP_CORRUPTION Failure, PVOID Heap, PVOID Block);
