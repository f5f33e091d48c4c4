// Pool tracking. A tracked block has a _VI_VERIFIER_POOL_HEADER as its last 8 bytes, naming the
// slot that describes it. Slots lie in pages; the first slot's place is the page's header. A free
// slot holds the link of the driver's free list (PoolTrackers) and zeros.
#include "vf.h"

#define VF_POOL_PAGE_TAG 'tPiV'    // "ViPt"
#define VF_POOL_TRACE_TAG 'cTfV'   // "VfTc"
// Windows keeps 0x10000 entries (8 MiB); a quarter of a percent of the lab's memory has to do.
#define VF_POOL_TRACES 0x2000
#define VF_ENTRIES_PER_PAGE (PAGE_SIZE / sizeof(VI_POOL_ENTRY))

PVF_POOL_TRACE VfPoolTraces;
ULONG VfPoolTracesLength = VF_POOL_TRACES;
LONG VfPoolTracesIndex;

VOID VfInitializePoolTraces(VOID)
{
    SIZE_T Bytes = VF_POOL_TRACES * sizeof(VF_POOL_TRACE);

    VfPoolTraces = ExAllocatePoolWithTag(NonPagedPoolNx, Bytes, VF_POOL_TRACE_TAG);
    if (VfPoolTraces != NULL)
        memset(VfPoolTraces, 0, Bytes);
}

static VOID ViLogPoolOperation(PVOID Address, SIZE_T Size)
{
    ULONG Index = (ULONG)InterlockedIncrement(&VfPoolTracesIndex) & (VF_POOL_TRACES - 1);
    PVF_POOL_TRACE Trace = &VfPoolTraces[Index];

    if (VfPoolTraces == NULL)
        return;
    memset(Trace, 0, sizeof(*Trace));
    Trace->Address = Address;
    Trace->Size = Size;
    Trace->Thread = (PETHREAD)KeGetCurrentThread();
    RtlCaptureStackBackTrace(2, ARRAYSIZE(Trace->StackTrace), Trace->StackTrace, NULL);
}

// Counters

static VOID ViRaisePeak(PULONG Peak, ULONG Value)
{
    if (Value > *Peak)
        *Peak = Value;
}

static VOID ViRaisePeakBytes(PULONG64 Peak, ULONG64 Value)
{
    if (Value > *Peak)
        *Peak = Value;
}

// The same five figures exist per driver and for all drivers together. Sign: 1 allocated, -1 freed.
static VOID ViCountPool(PVF_TARGET_VERIFIED_DRIVER_DATA Data, ULONG PoolType, SIZE_T Bytes,
                        LONG Sign)
{
    LONG64 Change = Sign * (LONG64)Bytes;

    if (PoolType & PagedPool) {
        InterlockedExchangeAdd((PLONG)&Data->CurrentPagedPoolAllocations, Sign);
        InterlockedExchangeAdd64((LONG64 *)&Data->PagedBytes, Change);
        InterlockedExchangeAdd((PLONG)&MmVerifierData.CurrentPagedPoolAllocations, Sign);
        InterlockedExchangeAdd64((LONG64 *)&MmVerifierData.PagedBytes, Change);
        ViRaisePeak(&Data->PeakPagedPoolAllocations, Data->CurrentPagedPoolAllocations);
        ViRaisePeakBytes(&Data->PeakPagedBytes, Data->PagedBytes);
        ViRaisePeak(&MmVerifierData.PeakPagedPoolAllocations,
                    MmVerifierData.CurrentPagedPoolAllocations);
        ViRaisePeakBytes(&MmVerifierData.PeakPagedBytes, MmVerifierData.PagedBytes);
    } else {
        InterlockedExchangeAdd((PLONG)&Data->CurrentNonPagedPoolAllocations, Sign);
        InterlockedExchangeAdd64((LONG64 *)&Data->NonPagedBytes, Change);
        InterlockedExchangeAdd((PLONG)&MmVerifierData.CurrentNonPagedPoolAllocations, Sign);
        InterlockedExchangeAdd64((LONG64 *)&MmVerifierData.NonPagedBytes, Change);
        ViRaisePeak(&Data->PeakNonPagedPoolAllocations, Data->CurrentNonPagedPoolAllocations);
        ViRaisePeakBytes(&Data->PeakNonPagedBytes, Data->NonPagedBytes);
        ViRaisePeak(&MmVerifierData.PeakNonPagedPoolAllocations,
                    MmVerifierData.CurrentNonPagedPoolAllocations);
        ViRaisePeakBytes(&MmVerifierData.PeakNonPagedBytes, MmVerifierData.NonPagedBytes);
    }
}

// Slots

static PVI_POOL_ENTRY ViGrowPoolEntries(PVF_TARGET_VERIFIED_DRIVER_DATA Data)
{
    PVI_POOL_ENTRY Page = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE_SIZE, VF_POOL_PAGE_TAG);

    if (Page == NULL)
        return NULL;
    memset(Page, 0, PAGE_SIZE);
    Page->PageHeader.VerifierEntry = Data;
    Page->PageHeader.Signature = VI_POOL_PAGE_SIGNATURE;
    RtlpInterlockedPushEntrySList(&Data->PoolPageHeaders, (PSLIST_ENTRY)Page);
    for (ULONG i = VF_ENTRIES_PER_PAGE - 1; i > 1; i--)
        RtlpInterlockedPushEntrySList(&Data->PoolTrackers, (PSLIST_ENTRY)&Page[i]);
    return &Page[1];
}

static PVI_POOL_ENTRY ViAllocatePoolEntry(PVF_TARGET_VERIFIED_DRIVER_DATA Data)
{
    PVI_POOL_ENTRY Entry = (PVI_POOL_ENTRY)RtlpInterlockedPopEntrySList(&Data->PoolTrackers);

    return Entry != NULL ? Entry : ViGrowPoolEntries(Data);
}

static VOID ViFreePoolEntry(PVF_TARGET_VERIFIED_DRIVER_DATA Data, PVI_POOL_ENTRY Entry)
{
    memset(Entry, 0, sizeof(*Entry));
    RtlpInterlockedPushEntrySList(&Data->PoolTrackers, (PSLIST_ENTRY)Entry);
}

static PVI_VERIFIER_POOL_HEADER ViPoolHeader(PVOID BlockEnd)
{
    return (PVI_VERIFIER_POOL_HEADER)BlockEnd - 1;
}

// Allocation

static VOID VfAllocPoolNotification(PVF_TARGET_VERIFIED_DRIVER_DATA Data, PVI_POOL_ENTRY Entry,
                                    PVOID P, ULONG PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                    PVOID CallingAddress)
{
    BOOLEAN QuotaCharged;
    PUCHAR BlockEnd = (PUCHAR)P + ExQueryPoolBlockSize(P, &QuotaCharged);

    ViPoolHeader(BlockEnd)->VerifierPoolEntry = Entry;
    Entry->InUse.VirtualAddress = P;
    Entry->InUse.CallingAddress = CallingAddress;
    Entry->InUse.NumberOfBytes = NumberOfBytes;
    Entry->InUse.Tag = Tag;
    ViCountPool(Data, PoolType, NumberOfBytes, 1);
}

static VOID ViCheckAllocation(ULONG PoolType, SIZE_T NumberOfBytes, PVOID CallingAddress)
{
    KIRQL Irql = KeGetCurrentIrql();
    KIRQL Limit = PoolType & PagedPool ? APC_LEVEL : DISPATCH_LEVEL;

    if (NumberOfBytes == 0)
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION, VfAllocateZeroBytes, Irql,
                                 PoolType, 0, CallingAddress);
    if (Irql > Limit)
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION,
                                 PoolType & PagedPool ? VfAllocatePagedIrql
                                                      : VfAllocateNonPagedIrql,
                                 Irql, PoolType, NumberOfBytes, CallingAddress);
}

PVOID VeAllocatePoolWithTagPriority(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                    EX_POOL_PRIORITY Priority, PVOID CallingAddress)
{
    PVF_TARGET_DRIVER Driver = VfTargetDriversLookup(CallingAddress);
    PVF_TARGET_VERIFIED_DRIVER_DATA Data = Driver == NULL ? NULL : Driver->VerifiedData;
    PVI_POOL_ENTRY Entry = NULL;
    PVOID P;

    ViCheckAllocation(PoolType, NumberOfBytes, CallingAddress);
    InterlockedIncrement((PLONG)&MmVerifierData.AllocationsAttempted);
    if (Data != NULL && (MmVerifierData.Level & DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS))
        Entry = ViAllocatePoolEntry(Data);
    if (Entry == NULL) {
        InterlockedIncrement((PLONG)&MmVerifierData.UnTrackedPool);
        P = ExAllocatePoolWithTagPriority(PoolType, NumberOfBytes, Tag, Priority);
    } else {
        P = ExAllocatePoolWithTagPriority(PoolType | POOL_VERIFIER,
                                          NumberOfBytes + sizeof(VI_VERIFIER_POOL_HEADER), Tag,
                                          Priority);
    }
    if (P == NULL) {
        InterlockedIncrement((PLONG)&MmVerifierData.AllocationsFailed);
        if (Data != NULL)
            InterlockedIncrement((PLONG)&Data->AllocationsFailed);
        if (Entry != NULL)
            ViFreePoolEntry(Data, Entry);
        return NULL;
    }
    InterlockedIncrement((PLONG)&MmVerifierData.AllocationsSucceeded);
    if (Entry != NULL) {
        VfAllocPoolNotification(Data, Entry, P, PoolType, NumberOfBytes, Tag, CallingAddress);
        ViLogPoolOperation(P, NumberOfBytes);
    }
    return P;
}

PVOID VerifierExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    return VeAllocatePoolWithTagPriority(PoolType, NumberOfBytes, Tag, NormalPoolPriority,
                                         __builtin_return_address(0));
}

PVOID VerifierExAllocatePool(POOL_TYPE PoolType, SIZE_T NumberOfBytes)
{
    InterlockedIncrement((PLONG)&MmVerifierData.AllocationsWithNoTag);
    return VeAllocatePoolWithTagPriority(PoolType, NumberOfBytes, 'enoN', NormalPoolPriority,
                                         __builtin_return_address(0));
}

PVOID VerifierExAllocatePoolWithQuotaTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    ULONG Type = PoolType & ~POOL_QUOTA_FAIL_INSTEAD_OF_RAISE;

    if (PsGetCurrentProcess() != PsInitialSystemProcess)
        Type |= POOL_HEADER_QUOTA;
    if (!(PoolType & POOL_QUOTA_FAIL_INSTEAD_OF_RAISE))
        Type |= POOL_RAISE_IF_ALLOCATION_FAILURE;
    return VeAllocatePoolWithTagPriority(Type, NumberOfBytes, Tag, NormalPoolPriority,
                                         __builtin_return_address(0));
}

PVOID VerifierExAllocatePool2(ULONG64 Flags, SIZE_T NumberOfBytes, ULONG Tag)
{
    ULONG Type;

    if (!ExpPoolFlagsToPoolType(Flags, &Type))
        return NULL;
    return VeAllocatePoolWithTagPriority(Type, NumberOfBytes, Tag, NormalPoolPriority,
                                         __builtin_return_address(0));
}

// Freeing

static VOID ViCheckFree(PVOID P, PVOID CallingAddress)
{
    if ((ULONG64)P < (ULONG64)MmSystemRangeStart)
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION, VfFreeBadAddress, (ULONG_PTR)P,
                                 0, 0, CallingAddress);
}

VOID VerifierExFreePoolWithTag(PVOID P, ULONG Tag)
{
    ViCheckFree(P, __builtin_return_address(0));
    ExFreePoolWithTag(P, Tag);
}

VOID VerifierExFreePool(PVOID P)
{
    ViCheckFree(P, __builtin_return_address(0));
    ExFreePool(P);
}

// The pool is about to free a tracked block.
VOID VfFreePoolNotification(PVOID P, PVOID BlockEnd, ULONG PoolType)
{
    PVI_VERIFIER_POOL_HEADER Header = ViPoolHeader(BlockEnd);
    PVI_POOL_ENTRY Entry = Header->VerifierPoolEntry;
    PVI_POOL_PAGE_HEADER Page = PAGE_ALIGN(Entry);
    PVF_TARGET_VERIFIED_DRIVER_DATA Data;

    if (!MmIsAddressValid(Entry) || Page->Signature != VI_POOL_PAGE_SIGNATURE ||
        Entry->InUse.VirtualAddress != P)
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION, VfPoolHeaderOverwritten,
                                 (ULONG_PTR)P, (ULONG_PTR)Header,
                                 (ULONG_PTR)BlockEnd - (ULONG_PTR)P, NULL);
    Data = Page->VerifierEntry;
    ViLogPoolOperation(P, Entry->InUse.NumberOfBytes);
    ViCountPool(Data, PoolType, Entry->InUse.NumberOfBytes, -1);
    ViFreePoolEntry(Data, Entry);
}

// Unloading

VOID VfPoolCheckForLeaks(PVF_TARGET_DRIVER Driver)
{
    PVF_TARGET_VERIFIED_DRIVER_DATA Data = Driver->VerifiedData;
    ULONG Leaks = Data->CurrentPagedPoolAllocations + Data->CurrentNonPagedPoolAllocations;

    if (Leaks != 0)
        VfReportIssueWithOptions(DRIVER_VERIFIER_DETECTED_VIOLATION, VfUnloadWithAllocations,
                                 (ULONG_PTR)&Data->SuspectDriverEntry->BaseName, (ULONG_PTR)Driver,
                                 Leaks, Driver->TreeNode.Base.p);
}

VOID VfPoolRelease(PVF_TARGET_VERIFIED_DRIVER_DATA Data)
{
    PSLIST_ENTRY Page;

    while ((Page = RtlpInterlockedPopEntrySList(&Data->PoolPageHeaders)) != NULL)
        ExFreePoolWithTag(Page, VF_POOL_PAGE_TAG);
}
