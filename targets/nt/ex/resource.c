// Executive resources: shared by many readers or owned by one writer. The first owner is noted in
// the resource, further ones in a table whose first entry holds its size.
#include "ex.h"

#define RESOURCE_OWNED_EXCLUSIVE 0x80   // _ERESOURCE.Flag
#define RESOURCE_NOT_OWNED 0xE3
#define RESOURCE_TABLE_TAG 'lteR'   // "Retl"
#define RESOURCE_TABLE_SIZE 4

LIST_ENTRY ExpSystemResourcesList;
KSPIN_LOCK ExpResourceSpinLock;

VOID ExpResourceInitialization(VOID)
{
    InitializeListHead(&ExpSystemResourcesList);
}

NTSTATUS ExInitializeResourceLite(PERESOURCE Resource)
{
    PKSEMAPHORE Shared;
    PKEVENT Exclusive;
    KIRQL Irql;

    memset(Resource, 0, sizeof(*Resource));
    Shared = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Shared) + sizeof(*Exclusive), 'aseR');
    if (Shared == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    Exclusive = (PKEVENT)(Shared + 1);
    KeInitializeSemaphore(Shared, 0, 0x7FFFFFFF);
    KeInitializeEvent(Exclusive, SynchronizationEvent, FALSE);
    Resource->SharedWaiters = Shared;
    Resource->ExclusiveWaiters = Exclusive;
    Irql = KeAcquireSpinLockRaiseToDpc(&ExpResourceSpinLock);
    InsertTailList(&ExpSystemResourcesList, &Resource->SystemResourcesList);
    KeReleaseSpinLock(&ExpResourceSpinLock, Irql);
    return STATUS_SUCCESS;
}

NTSTATUS ExDeleteResourceLite(PERESOURCE Resource)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&ExpResourceSpinLock);

    RemoveEntryList(&Resource->SystemResourcesList);
    KeReleaseSpinLock(&ExpResourceSpinLock, Irql);
    if (Resource->OwnerTable != NULL)
        ExFreePoolWithTag(Resource->OwnerTable, RESOURCE_TABLE_TAG);
    ExFreePoolWithTag(Resource->SharedWaiters, 'aseR');
    return STATUS_SUCCESS;
}

static BOOLEAN ExpIsExclusive(PERESOURCE Resource)
{
    return (Resource->Flag & RESOURCE_OWNED_EXCLUSIVE) != 0;
}

static BOOLEAN ExpOwnsExclusive(PERESOURCE Resource)
{
    return ExpIsExclusive(Resource) &&
           Resource->OwnerEntry.OwnerThread == (ULONG64)KeGetCurrentThread();
}

static VOID ExpOwnExclusive(PERESOURCE Resource, ULONG64 Thread)
{
    Resource->Flag |= RESOURCE_OWNED_EXCLUSIVE;
    Resource->ActiveCount = 1;
    Resource->ActiveEntries = 1;
    Resource->OwnerEntry.OwnerThread = Thread;
    Resource->OwnerEntry.OwnerCount = 1;
}

// The entry of a thread (0: a free one), NULL when there is none.
static POWNER_ENTRY ExpFindOwner(PERESOURCE Resource, ULONG64 Thread)
{
    POWNER_ENTRY Table = Resource->OwnerTable;

    if (Resource->OwnerEntry.OwnerThread == Thread)
        return &Resource->OwnerEntry;
    for (ULONG i = 1; Table != NULL && i < Table->TableSize; i++)
        if (Table[i].OwnerThread == Thread)
            return &Table[i];
    return NULL;
}

// A table with room for more owners; pool is to be had at DISPATCH_LEVEL.
static BOOLEAN ExpExpandOwnerTable(PERESOURCE Resource)
{
    POWNER_ENTRY Old = Resource->OwnerTable, New;
    ULONG Size = Old == NULL ? RESOURCE_TABLE_SIZE : Old->TableSize + RESOURCE_TABLE_SIZE;

    New = ExAllocatePoolWithTag(NonPagedPoolNx, Size * sizeof(*New), RESOURCE_TABLE_TAG);
    if (New == NULL)
        return FALSE;
    memset(New, 0, Size * sizeof(*New));
    if (Old != NULL) {
        memcpy(New, Old, Old->TableSize * sizeof(*New));
        ExFreePoolWithTag(Old, RESOURCE_TABLE_TAG);
    }
    New->TableSize = Size;
    Resource->OwnerTable = New;
    return TRUE;
}

static VOID ExpAddSharedOwner(PERESOURCE Resource, ULONG64 Thread)
{
    POWNER_ENTRY Entry = ExpFindOwner(Resource, 0);

    if (Entry == NULL && ExpExpandOwnerTable(Resource))
        Entry = ExpFindOwner(Resource, 0);
    if (Entry == NULL)
        KeBugCheckEx(RESOURCE_NOT_OWNED, (ULONG_PTR)Resource, Thread, 0, 0);
    Entry->OwnerThread = Thread;
    Entry->OwnerCount = 1;
}

BOOLEAN ExAcquireResourceExclusiveLite(PERESOURCE Resource, BOOLEAN Wait)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&Resource->SpinLock);

    if (ExpOwnsExclusive(Resource)) {
        Resource->OwnerEntry.OwnerCount++;
    } else if (Resource->ActiveEntries == 0) {
        ExpOwnExclusive(Resource, (ULONG64)KeGetCurrentThread());
    } else if (!Wait) {
        KeReleaseSpinLock(&Resource->SpinLock, Irql);
        return FALSE;
    } else {
        Resource->ContentionCount++;
        Resource->NumberOfExclusiveWaiters++;
        KeReleaseSpinLock(&Resource->SpinLock, Irql);
        KeWaitForSingleObject(Resource->ExclusiveWaiters, WrResource, KernelMode, FALSE, NULL);
        // The releaser handed the resource over; only it could not know to whom.
        Resource->OwnerEntry.OwnerThread = (ULONG64)KeGetCurrentThread();
        return TRUE;
    }
    KeReleaseSpinLock(&Resource->SpinLock, Irql);
    return TRUE;
}

BOOLEAN ExAcquireResourceSharedLite(PERESOURCE Resource, BOOLEAN Wait)
{
    ULONG64 Thread = (ULONG64)KeGetCurrentThread();
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&Resource->SpinLock);
    POWNER_ENTRY Owner = ExpFindOwner(Resource, Thread);

    if (Owner != NULL) {
        Owner->OwnerCount++;
    } else if (!ExpIsExclusive(Resource) && Resource->NumberOfExclusiveWaiters == 0) {
        Resource->ActiveCount = 1;
        Resource->ActiveEntries++;
        ExpAddSharedOwner(Resource, Thread);
    } else if (!Wait) {
        KeReleaseSpinLock(&Resource->SpinLock, Irql);
        return FALSE;
    } else {
        Resource->ContentionCount++;
        Resource->NumberOfSharedWaiters++;
        KeReleaseSpinLock(&Resource->SpinLock, Irql);
        KeWaitForSingleObject(Resource->SharedWaiters, WrResource, KernelMode, FALSE, NULL);
        Irql = KeAcquireSpinLockRaiseToDpc(&Resource->SpinLock);
        ExpAddSharedOwner(Resource, Thread);        // counted by the releaser already
    }
    KeReleaseSpinLock(&Resource->SpinLock, Irql);
    return TRUE;
}

// Nobody owns the resource any more: the next writer gets it, else all readers.
static VOID ExpHandOverResource(PERESOURCE Resource, BOOLEAN ReadersFirst)
{
    Resource->Flag &= ~RESOURCE_OWNED_EXCLUSIVE;
    Resource->ActiveCount = 0;
    Resource->ActiveEntries = 0;
    if (Resource->NumberOfSharedWaiters != 0 &&
        (ReadersFirst || Resource->NumberOfExclusiveWaiters == 0)) {
        ULONG Readers = Resource->NumberOfSharedWaiters;
        Resource->NumberOfSharedWaiters = 0;
        Resource->ActiveCount = 1;
        Resource->ActiveEntries = Readers;
        KeReleaseSemaphore(Resource->SharedWaiters, IO_NO_INCREMENT, (LONG)Readers, FALSE);
    } else if (Resource->NumberOfExclusiveWaiters != 0) {
        Resource->NumberOfExclusiveWaiters--;
        ExpOwnExclusive(Resource, 0);
        KeSetEvent(Resource->ExclusiveWaiters, IO_NO_INCREMENT, FALSE);
    }
}

VOID ExReleaseResourceLite(PERESOURCE Resource)
{
    ULONG64 Thread = (ULONG64)KeGetCurrentThread();
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&Resource->SpinLock);
    BOOLEAN Exclusive = ExpIsExclusive(Resource);
    POWNER_ENTRY Owner = ExpFindOwner(Resource, Thread);

    if (Owner == NULL)
        KeBugCheckEx(RESOURCE_NOT_OWNED, (ULONG_PTR)Resource, Thread,
                     (ULONG_PTR)Resource->OwnerTable, 0);
    if (--Owner->OwnerCount == 0) {
        Owner->OwnerThread = 0;
        if (--Resource->ActiveEntries == 0)
            ExpHandOverResource(Resource, Exclusive);
    }
    KeReleaseSpinLock(&Resource->SpinLock, Irql);
}
