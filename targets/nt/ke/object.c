// Events, semaphores, mutexes and queues.
#include "ki.h"

static VOID KiInitializeHeader(PDISPATCHER_HEADER Header, UCHAR Type, SIZE_T Size, LONG State)
{
    Header->Lock = 0;
    Header->Type = Type;
    Header->Size = (UCHAR)(Size / sizeof(ULONG));
    Header->SignalState = State;
    InitializeListHead(&Header->WaitListHead);
}

VOID KeInitializeEvent(PKEVENT Event, EVENT_TYPE Type, BOOLEAN State)
{
    KiInitializeHeader(&Event->Header, (UCHAR)(EventNotificationObject + Type), sizeof(KEVENT),
                       State != 0);
}

LONG KeSetEvent(PKEVENT Event, KPRIORITY Increment, BOOLEAN Wait)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    LONG Old = Event->Header.SignalState;

    Event->Header.SignalState = 1;
    KiWaitTest(&Event->Header);
    KiExitDispatcher(OldIrql);
    return Old;
}

LONG KeResetEvent(PKEVENT Event)
{
    return InterlockedExchange(&Event->Header.SignalState, 0);
}

VOID KeClearEvent(PKEVENT Event)
{
    Event->Header.SignalState = 0;
}

LONG KeReadStateEvent(PKEVENT Event)
{
    return Event->Header.SignalState;
}

VOID KeInitializeSemaphore(PKSEMAPHORE Semaphore, LONG Count, LONG Limit)
{
    KiInitializeHeader(&Semaphore->Header, SemaphoreObject, sizeof(KSEMAPHORE), Count);
    Semaphore->Limit = Limit;
}

LONG KeReleaseSemaphore(PKSEMAPHORE Semaphore, KPRIORITY Increment, LONG Adjustment, BOOLEAN Wait)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    LONG Old = Semaphore->Header.SignalState;

    if (Old + Adjustment > Semaphore->Limit || Adjustment < 0)
        KeBugCheckEx(0x1E, (ULONG_PTR)STATUS_SEMAPHORE_LIMIT_EXCEEDED, (ULONG_PTR)Semaphore, 0, 0);
    Semaphore->Header.SignalState = Old + Adjustment;
    KiWaitTest(&Semaphore->Header);
    KiExitDispatcher(OldIrql);
    return Old;
}

VOID KeInitializeMutex(PKMUTANT Mutex, ULONG Level)
{
    KiInitializeHeader(&Mutex->Header, MutantObject, sizeof(KMUTANT), 1);
    Mutex->OwnerThread = NULL;
    Mutex->MutantFlags = 0;
    Mutex->ApcDisable = 1;
}

LONG KeReleaseMutex(PKMUTANT Mutex, BOOLEAN Wait)
{
    PKTHREAD Thread = KeGetCurrentThread();
    KIRQL OldIrql = KiAcquireDispatcherLock();
    LONG Old = Mutex->Header.SignalState;

    if (Mutex->OwnerThread != Thread)
        KeBugCheckEx(0x1E, (ULONG_PTR)STATUS_MUTANT_NOT_OWNED, (ULONG_PTR)Mutex, 0, 0);
    if (++Mutex->Header.SignalState == 1) {
        RemoveEntryList(&Mutex->MutantListEntry);
        Mutex->OwnerThread = NULL;
        Thread->KernelApcDisable += Mutex->ApcDisable;
        KiWaitTest(&Mutex->Header);
    }
    KiExitDispatcher(OldIrql);
    return Old;
}

VOID KeInitializeQueue(PKQUEUE Queue, ULONG Count)
{
    KiInitializeHeader(&Queue->Header, QueueObject, sizeof(KQUEUE), 0);
    InitializeListHead(&Queue->EntryListHead);
    InitializeListHead(&Queue->ThreadListHead);
    Queue->CurrentCount = 0;
    Queue->MaximumCount = Count ? Count : KeNumberProcessors;
}

// A queue with a list for each priority. Its signal state counts the entries nobody waits for.
VOID KeInitializePriQueue(PKPRIQUEUE Queue, ULONG MaximumCount)
{
    KiInitializeHeader(&Queue->Header, PriQueueObject, sizeof(KPRIQUEUE), 0);
    for (ULONG i = 0; i < ARRAYSIZE(Queue->EntryListHead); i++) {
        InitializeListHead(&Queue->EntryListHead[i]);
        Queue->CurrentCount[i] = 0;
    }
    InitializeListHead(&Queue->ThreadListHead);
    Queue->MaximumCount = MaximumCount;
}

VOID KeInsertPriQueue(PKPRIQUEUE Queue, PLIST_ENTRY Entry, KPRIORITY Priority)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();

    InsertTailList(&Queue->EntryListHead[Priority], Entry);
    Queue->Header.SignalState++;
    KiWaitTest(&Queue->Header);
    KiExitDispatcher(OldIrql);
}

// The oldest entry of the highest priority, which becomes the thread's. CurrentCount says how many
// threads are at work for entries of a priority; the thread's last entry counts until it returns.
PLIST_ENTRY KeRemovePriQueue(PKPRIQUEUE Queue, KPROCESSOR_MODE Mode)
{
    PKTHREAD Thread = KeGetCurrentThread();
    KPRIORITY Priority = ARRAYSIZE(Queue->EntryListHead) - 1;
    PLIST_ENTRY Entry;
    KIRQL OldIrql = KiAcquireDispatcherLock();

    if (Thread->Queue == NULL) {
        Thread->Queue = (PVOID)Queue;
        InsertTailList(&Queue->ThreadListHead, &Thread->QueueListEntry);
    } else {
        Queue->CurrentCount[Thread->QueuePriority]--;
    }
    KiExitDispatcher(OldIrql);
    KeWaitForSingleObject(Queue, WrQueue, Mode, FALSE, NULL);
    OldIrql = KiAcquireDispatcherLock();
    while (IsListEmpty(&Queue->EntryListHead[Priority]))
        Priority--;
    Entry = RemoveHeadList(&Queue->EntryListHead[Priority]);
    Queue->CurrentCount[Priority]++;
    Thread->QueuePriority = Priority;
    KiExitDispatcher(OldIrql);
    KeSetPriorityThread(Thread, Priority);
    Entry->Flink = NULL;
    return Entry;
}
