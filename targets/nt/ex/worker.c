// Work items: system threads that run other components' routines at PASSIVE_LEVEL, at the priority
// of the kind of item. The queue hands out critical items before delayed ones.
#include "ex.h"

#define WORKER_INVALID 0x96
#define WORKER_THREAD_RETURNED_AT_BAD_IRQL 0xE1
#define WORKER_THREADS 5

typedef enum _EXQUEUEINDEX { ExPoolUntrusted, IoPoolUntrusted, ExPoolMax = 8 } EXQUEUEINDEX;

typedef struct _EX_WORK_QUEUE {
    KPRIQUEUE WorkPriQueue;
    PVOID Partition;
    PVOID Node;
    ULONG WorkItemsProcessed;
    ULONG WorkItemsProcessedLastPass;
    LONG ThreadCount;
    LONG MinThreads : 31;
    ULONG TryFailed : 1;
    LONG MaxThreads;
    EXQUEUEINDEX QueueIndex;
    PKEVENT AllThreadsExitedEvent;
} EX_WORK_QUEUE, *PEX_WORK_QUEUE;
_Static_assert(sizeof(EX_WORK_QUEUE) == 0x2E0, "EX_WORK_QUEUE");

static const KPRIORITY ExpWorkQueuePriorities[] = {
    13,   // CriticalWorkQueue
    12,   // DelayedWorkQueue
};

static EX_WORK_QUEUE ExpSystemWorkQueue = {.QueueIndex = ExPoolUntrusted};
PEX_WORK_QUEUE ExWorkerQueue = &ExpSystemWorkQueue;

VOID ExpWorkerThread(PVOID Context)
{
    PEX_WORK_QUEUE Queue = Context;

    InterlockedIncrement(&Queue->ThreadCount);
    KeSetPriorityThread(KeGetCurrentThread(), ExpWorkQueuePriorities[DelayedWorkQueue]);
    for (;;) {
        // The routine may free its item: keep what a bug check has to name.
        PLIST_ENTRY Entry = KeRemovePriQueue(&Queue->WorkPriQueue, KernelMode);
        PWORK_QUEUE_ITEM Item = CONTAINING_RECORD(Entry, WORK_QUEUE_ITEM, List);
        WORKER_THREAD_ROUTINE *Routine = Item->WorkerRoutine;
        PVOID Parameter = Item->Parameter;

        InterlockedIncrement((volatile LONG *)&Queue->WorkItemsProcessed);
        Routine(Parameter);
        if (KeGetCurrentIrql() != PASSIVE_LEVEL)
            KeBugCheckEx(WORKER_THREAD_RETURNED_AT_BAD_IRQL, (ULONG_PTR)Routine,
                         KeGetCurrentIrql(), (ULONG_PTR)Parameter, (ULONG_PTR)Item);
    }
}

VOID ExpWorkerInitialization(VOID)
{
    PEX_WORK_QUEUE Queue = ExWorkerQueue;
    HANDLE Thread;

    KeInitializePriQueue(&Queue->WorkPriQueue, WORKER_THREADS);
    Queue->MinThreads = Queue->MaxThreads = WORKER_THREADS;
    for (ULONG n = 0; n < WORKER_THREADS; n++)
        if (NT_SUCCESS(PsCreateSystemThread(&Thread, THREAD_ALL_ACCESS, NULL, NULL, NULL,
                                            ExpWorkerThread, Queue)))
            ZwClose(Thread);
}

VOID ExQueueWorkItem(PWORK_QUEUE_ITEM Item, ULONG QueueType)
{
    if (Item->List.Flink != NULL)
        KeBugCheckEx(WORKER_INVALID, 1, (ULONG_PTR)Item, (ULONG_PTR)ExWorkerQueue, 0);
    KeInsertPriQueue(&ExWorkerQueue->WorkPriQueue, &Item->List,
                     ExpWorkQueuePriorities[QueueType < ARRAYSIZE(ExpWorkQueuePriorities)
                                                ? QueueType
                                                : CriticalWorkQueue]);
}
