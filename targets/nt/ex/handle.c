// Handle tables. A leaf is one page of 256 entries, the first of which holds the leaf's base
// handle; a table begins with one leaf (level 0) and grows to a page of leaf pointers (level 1),
// 131,072 handles.
#include "ex.h"

#define HANDLE_TABLE_TAG 'btbO'    // "Obtb"
#define LEAF_ENTRIES (PAGE_SIZE / sizeof(HANDLE_TABLE_ENTRY))
#define MIDDLE_ENTRIES (PAGE_SIZE / sizeof(PVOID))
#define LEVEL_MASK 3ull
#define HANDLE_VALUE_INC 4

KSPIN_LOCK ExpHandleTableListLock;

static PHANDLE_TABLE_ENTRY *ExpMiddleTable(PHANDLE_TABLE Table)
{
    return (PHANDLE_TABLE_ENTRY *)(Table->TableCode & ~LEVEL_MASK);
}

static PHANDLE_TABLE_ENTRY ExpLookupHandleTableEntry(PHANDLE_TABLE Table, ULONG64 Handle)
{
    ULONG64 Index = (ULONG)Handle / HANDLE_VALUE_INC;
    PHANDLE_TABLE_ENTRY Leaf = (PHANDLE_TABLE_ENTRY)ExpMiddleTable(Table);

    if (Index * HANDLE_VALUE_INC >= Table->NextHandleNeedingPool || Index % LEAF_ENTRIES == 0)
        return NULL;
    if (Table->TableCode & LEVEL_MASK)
        Leaf = ExpMiddleTable(Table)[Index / LEAF_ENTRIES];
    return &Leaf[Index % LEAF_ENTRIES];
}

static ULONG64 ExpHandleOfEntry(PHANDLE_TABLE_ENTRY Entry)
{
    PHANDLE_TABLE_ENTRY Leaf = PAGE_ALIGN(Entry);

    return Leaf->LeafHandleValue.Value + (Entry - Leaf) * HANDLE_VALUE_INC;
}

static VOID ExpFreeHandleTableEntry(PHANDLE_TABLE Table, PHANDLE_TABLE_ENTRY Entry)
{
    PHANDLE_TABLE_FREE_LIST List = &Table->FreeLists[0];

    Entry->LowValue = 0;
    Entry->NextFreeHandleEntry = NULL;
    if (List->FirstFreeHandleEntry == NULL) {
        List->FirstFreeHandleEntry = List->LastFreeHandleEntry = Entry;
    } else if (Table->StrictFIFO) {
        List->LastFreeHandleEntry->NextFreeHandleEntry = Entry;
        List->LastFreeHandleEntry = Entry;
    } else {
        Entry->NextFreeHandleEntry = List->FirstFreeHandleEntry;
        List->FirstFreeHandleEntry = Entry;
    }
}

// One more leaf; its entries join the free list in ascending order.
static BOOLEAN ExpAllocateHandleLeaf(PHANDLE_TABLE Table)
{
    ULONG Number = Table->NextHandleNeedingPool / (LEAF_ENTRIES * HANDLE_VALUE_INC);
    PHANDLE_TABLE_ENTRY Leaf, *Middle;
    BOOLEAN Fifo = Table->StrictFIFO;

    if (Number == MIDDLE_ENTRIES)
        return FALSE;
    Leaf = ExAllocatePoolWithTag(PagedPool, PAGE_SIZE, HANDLE_TABLE_TAG);
    if (Leaf == NULL)
        return FALSE;
    memset(Leaf, 0, PAGE_SIZE);
    Leaf->LeafHandleValue.Value = Table->NextHandleNeedingPool;
    if (Number == 0) {
        Table->TableCode = (ULONG64)Leaf;
    } else if (Number == 1) {
        Middle = ExAllocatePoolWithTag(PagedPool, PAGE_SIZE, HANDLE_TABLE_TAG);
        if (Middle == NULL) {
            ExFreePoolWithTag(Leaf, HANDLE_TABLE_TAG);
            return FALSE;
        }
        memset(Middle, 0, PAGE_SIZE);
        Middle[0] = (PHANDLE_TABLE_ENTRY)Table->TableCode;
        Middle[1] = Leaf;
        Table->TableCode = (ULONG64)Middle | 1;
    } else {
        ExpMiddleTable(Table)[Number] = Leaf;
    }
    Table->NextHandleNeedingPool += LEAF_ENTRIES * HANDLE_VALUE_INC;
    Table->StrictFIFO = TRUE;
    for (ULONG i = 1; i < LEAF_ENTRIES; i++)
        ExpFreeHandleTableEntry(Table, &Leaf[i]);
    Table->StrictFIFO = Fifo;
    return TRUE;
}

PHANDLE_TABLE ExCreateHandleTable(PEPROCESS Process)
{
    PHANDLE_TABLE Table = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Table), HANDLE_TABLE_TAG);
    KIRQL Irql;

    if (Table == NULL)
        return NULL;
    memset(Table, 0, sizeof(*Table));
    Table->QuotaProcess = Process;
    if (Process != NULL)
        Table->UniqueProcessId = (ULONG)(ULONG64)Process->UniqueProcessId;
    if (!ExpAllocateHandleLeaf(Table)) {
        ExFreePoolWithTag(Table, HANDLE_TABLE_TAG);
        return NULL;
    }
    Irql = KeAcquireSpinLockRaiseToDpc(&ExpHandleTableListLock);
    InsertTailList(&HandleTableListHead, &Table->HandleTableList);
    KeReleaseSpinLock(&ExpHandleTableListLock, Irql);
    return Table;
}

// Pointers lose their upper 16 bits (all ones) and their lower 4 (all zero).
static VOID ExpStoreObject(PHANDLE_TABLE_ENTRY Entry, PVOID Object, ULONG Attributes)
{
    HANDLE_TABLE_ENTRY New = {0};

    New.ObjectPointerBits = (ULONG64)Object >> 4;
    New.Attributes = Attributes & 7;
    New.Unlocked = 1;
    *(volatile LONGLONG *)&Entry->LowValue = New.LowValue;
}

PVOID ExHandleEntryObject(const HANDLE_TABLE_ENTRY *Entry)
{
    return (PVOID)((ULONG64)Entry->ObjectPointerBits << 4 | 0xFFFF000000000000ull);
}

HANDLE ExCreateHandle(PHANDLE_TABLE Table, PVOID Object, ULONG Attributes, ACCESS_MASK Access)
{
    PHANDLE_TABLE_FREE_LIST List = &Table->FreeLists[0];
    PHANDLE_TABLE_ENTRY Entry;

    ExAcquirePushLockExclusive(&Table->HandleTableLock);
    if (List->FirstFreeHandleEntry == NULL && !ExpAllocateHandleLeaf(Table)) {
        ExReleasePushLockExclusive(&Table->HandleTableLock);
        return NULL;
    }
    Entry = List->FirstFreeHandleEntry;
    List->FirstFreeHandleEntry = Entry->NextFreeHandleEntry;
    if (++List->HandleCount > (LONG)List->HighWaterMark)
        List->HighWaterMark = (ULONG)List->HandleCount;
    Entry->HighValue = 0;
    Entry->GrantedAccessBits = Access;
    ExpStoreObject(Entry, Object, Attributes);
    ExReleasePushLockExclusive(&Table->HandleTableLock);
    return (HANDLE)ExpHandleOfEntry(Entry);
}

// The handle's entry, locked; NULL when the handle is not open.
PHANDLE_TABLE_ENTRY ExMapHandleToPointer(PHANDLE_TABLE Table, HANDLE Handle)
{
    PHANDLE_TABLE_ENTRY Entry = ExpLookupHandleTableEntry(Table, (ULONG64)Handle);

    ExAcquirePushLockExclusive(&Table->HandleTableLock);
    if (Entry == NULL || Entry->ObjectPointerBits == 0) {
        ExReleasePushLockExclusive(&Table->HandleTableLock);
        return NULL;
    }
    Entry->Unlocked = 0;
    return Entry;
}

VOID ExUnlockHandleTableEntry(PHANDLE_TABLE Table, PHANDLE_TABLE_ENTRY Entry)
{
    Entry->Unlocked = 1;
    ExReleasePushLockExclusive(&Table->HandleTableLock);
}

BOOLEAN ExDestroyHandle(PHANDLE_TABLE Table, HANDLE Handle)
{
    PHANDLE_TABLE_ENTRY Entry = ExMapHandleToPointer(Table, Handle);

    if (Entry == NULL)
        return FALSE;
    Entry->HighValue = 0;
    ExpFreeHandleTableEntry(Table, Entry);
    Table->FreeLists[0].HandleCount--;
    ExReleasePushLockExclusive(&Table->HandleTableLock);
    return TRUE;
}
