// Executive resources: shared by many readers or owned by one writer. Shared owners are counted,
// not listed: OwnerTable stays empty.
#include "ex.h"

#define RESOURCE_OWNED_EXCLUSIVE 0x80   // _ERESOURCE.Flag
#define RESOURCE_NOT_OWNED 0xE3

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
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&Resource->SpinLock);

    if (ExpOwnsExclusive(Resource)) {
        Resource->OwnerEntry.OwnerCount++;
    } else if (!ExpIsExclusive(Resource) && Resource->NumberOfExclusiveWaiters == 0) {
        Resource->ActiveCount = 1;
        Resource->ActiveEntries++;
    } else if (!Wait) {
        KeReleaseSpinLock(&Resource->SpinLock, Irql);
        return FALSE;
    } else {
        Resource->ContentionCount++;
        Resource->NumberOfSharedWaiters++;
        KeReleaseSpinLock(&Resource->SpinLock, Irql);
        KeWaitForSingleObject(Resource->SharedWaiters, WrResource, KernelMode, FALSE, NULL);
        return TRUE;
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
    Resource->OwnerEntry.OwnerThread = 0;
    Resource->OwnerEntry.OwnerCount = 0;
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
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&Resource->SpinLock);

    if (ExpIsExclusive(Resource)) {
        if (!ExpOwnsExclusive(Resource))
            KeBugCheckEx(RESOURCE_NOT_OWNED, (ULONG_PTR)Resource, (ULONG_PTR)KeGetCurrentThread(),
                         (ULONG_PTR)Resource->OwnerTable, 0);
        if (--Resource->OwnerEntry.OwnerCount == 0)
            ExpHandOverResource(Resource, TRUE);
    } else {
        if (Resource->ActiveEntries == 0)
            KeBugCheckEx(RESOURCE_NOT_OWNED, (ULONG_PTR)Resource, (ULONG_PTR)KeGetCurrentThread(),
                         (ULONG_PTR)Resource->OwnerTable, 0);
        if (--Resource->ActiveEntries == 0)
            ExpHandOverResource(Resource, FALSE);
    }
    KeReleaseSpinLock(&Resource->SpinLock, Irql);
}
