// Threads: ready queues, choosing the next one, switching, priorities.
#include "ki.h"

KSPIN_LOCK KiDispatcherLock = 0;
ULONG64 KiDispatcherIpis = 0;

// The frames with which KiSwapContext enters a new thread.
static VOID KiInitializeContextThread(PKTHREAD Thread,
                                      VOID (*SystemRoutine)(PKSTART_ROUTINE, PVOID),
                                      PKSTART_ROUTINE Start, PVOID Context)
{
    PKSTART_FRAME StartFrame =
        (PKSTART_FRAME)((PUCHAR)Thread->InitialStack - 0x30);   // keeps calls aligned
    PKSWITCH_FRAME SwitchFrame = (PKSWITCH_FRAME)StartFrame - 1;

    StartFrame->P1Home = (ULONG64)SystemRoutine;
    StartFrame->P2Home = (ULONG64)Start;
    StartFrame->P3Home = (ULONG64)Context;
    StartFrame->Return = 0;
    SwitchFrame->MxCsr = 0x1F80;
    SwitchFrame->Rbp = 0;
    SwitchFrame->Return = Thread->SystemThread ? (ULONG64)KiStartSystemThread :
        (ULONG64)KiStartUserThread;
    Thread->KernelStack = SwitchFrame;
}

// A thread without a system routine runs already: an idle thread on its boot stack.
VOID KeInitializeThread(PKTHREAD Thread, PVOID StackBase,
                        VOID (*SystemRoutine)(PKSTART_ROUTINE, PVOID), PKSTART_ROUTINE Start,
                        PVOID Context, PKPROCESS Process)
{
    Thread->Header.ThreadType = ThreadObject;
    Thread->Header.Size = (UCHAR)(sizeof(KTHREAD) / sizeof(ULONG));   // the field wraps, as in Windows
    InitializeListHead(&Thread->Header.WaitListHead);
    InitializeListHead(&Thread->MutantListHead);
    InitializeListHead(&Thread->ApcState.ApcListHead[KernelMode]);
    InitializeListHead(&Thread->ApcState.ApcListHead[UserMode]);
    InitializeListHead(&Thread->QueueListEntry);
    Thread->ApcState.Process = Process;
    Thread->Process = Process;
    Thread->ApcQueueable = 1;
    KeInitializeTimer(&Thread->Timer);
    for (ULONG i = 0; i < ARRAYSIZE(Thread->WaitBlock); i++)
        Thread->WaitBlock[i].Thread = Thread;
    KeInitializeEvent(&Thread->SuspendEvent, SynchronizationEvent, TRUE);

    Thread->StackBase = StackBase;
    Thread->StackLimit = (PUCHAR)StackBase - KERNEL_STACK_SIZE;
    Thread->InitialStack = (PUCHAR)StackBase - KERNEL_STACK_CONTROL_LENGTH;
    Thread->KernelStackResident = 1;
    if (SystemRoutine)
        KiInitializeContextThread(Thread, SystemRoutine, Start, Context);

    Thread->BasePriority = Process->BasePriority;
    Thread->Priority = Process->BasePriority;
    Thread->QuantumReset = 6;
    Thread->Affinity.Mask = KeActiveProcessors.Bitmap[0];
    Thread->UserAffinity.Mask = KeActiveProcessors.Bitmap[0];
    Thread->State = Initialized;
}

// Make a thread part of its process and let it run.
VOID KeStartThread(PKTHREAD Thread)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    PKPROCESS Process = Thread->Process;

    InsertTailList(&Process->ThreadListHead, &Thread->ThreadListEntry);
    Process->StackCount.StackCount++;
    Process->ThreadSeed[0]++;
    Thread->IdealProcessor = Process->ThreadSeed[0] % KeNumberProcessors;
    Thread->UserIdealProcessor = Thread->IdealProcessor;
    KiReadyThread(Thread);
    KiExitDispatcher(OldIrql);
}

static VOID KiInsertReadyQueue(PKPRCB Prcb, PKTHREAD Thread, BOOLEAN AtHead)
{
    PLIST_ENTRY Head = &Prcb->DispatcherReadyListHead[(UCHAR)Thread->Priority];

    Thread->State = Ready;
    Thread->NextProcessor = Prcb->Number;
    Thread->ReadyTime = (ULONG)SHARED_USER_DATA->TickCountQuad;
    if (AtHead)
        InsertHeadList(Head, &Thread->WaitListEntry);
    else
        InsertTailList(Head, &Thread->WaitListEntry);
    Prcb->ReadySummary |= 1u << Thread->Priority;
    Prcb->ReadyThreadCount++;
}

static VOID KiRemoveReadyQueue(PKPRCB Prcb, PKTHREAD Thread)
{
    if (RemoveEntryList(&Thread->WaitListEntry))
        Prcb->ReadySummary &= ~(1u << Thread->Priority);
    Prcb->ReadyThreadCount--;
}

static BOOLEAN KiIsIdle(PKPRCB Prcb)
{
    return Prcb->CurrentThread == Prcb->IdleThread && Prcb->NextThread == NULL;
}

// Of the processors the thread may use: an idle one when there is one, otherwise the first one from
// its ideal processor on.
static PKPRCB KiSelectProcessor(PKTHREAD Thread)
{
    PKPRCB First = NULL;

    for (ULONG i = 0; i < KeNumberProcessors; i++) {
        PKPRCB Prcb = KiProcessorBlock[(Thread->IdealProcessor + i) % KeNumberProcessors];

        if (!(Thread->Affinity.Mask & Prcb->GroupSetMember))
            continue;
        if (KiIsIdle(Prcb))
            return Prcb;
        if (First == NULL)
            First = Prcb;
    }
    return First ? First : KiProcessorBlock[Thread->IdealProcessor];
}

VOID KiReadyThread(PKTHREAD Thread)
{
    PKPRCB Prcb = KiSelectProcessor(Thread);
    PKTHREAD Rival = Prcb->NextThread ? Prcb->NextThread : Prcb->CurrentThread;

    if (Rival == Prcb->IdleThread || Thread->Priority > Rival->Priority) {
        if (Prcb->NextThread)
            KiInsertReadyQueue(Prcb, Prcb->NextThread, TRUE);
        Thread->State = Standby;
        Thread->NextProcessor = Prcb->Number;
        Prcb->NextThread = Thread;
    } else {
        KiInsertReadyQueue(Prcb, Thread, FALSE);
    }
    if (Prcb != KeGetCurrentPrcb())
        KiDispatcherIpis |= 1ULL << Prcb->Number;
    else if (Prcb->NextThread == NULL)
        KiProgramClock(Prcb);               // threads compete: the quantum counts from now on
}

static PKTHREAD KiHighestReady(PKPRCB Prcb)
{
    if (Prcb->ReadySummary == 0)
        return NULL;
    ULONG Priority = 31 - (ULONG)__builtin_clz(Prcb->ReadySummary);
    return CONTAINING_RECORD(Prcb->DispatcherReadyListHead[Priority].Flink, KTHREAD, WaitListEntry);
}

// Takes the thread this processor should run off its place; never fails.
PKTHREAD KiSelectNextThread(PKPRCB Prcb)
{
    PKTHREAD Thread = Prcb->NextThread;

    if (Thread) {
        Prcb->NextThread = NULL;
        return Thread;
    }
    for (ULONG i = 0; i < KeNumberProcessors; i++) {     // own queue first, then the others'
        PKPRCB Owner = KiProcessorBlock[(Prcb->Number + i) % KeNumberProcessors];

        Thread = KiHighestReady(Owner);
        if (Thread && (Thread->Affinity.Mask & Prcb->GroupSetMember)) {
            KiRemoveReadyQueue(Owner, Thread);
            return Thread;
        }
    }
    return Prcb->IdleThread;
}

// What the thread used since it got the processor, in time stamp counts.
static VOID KiChargeCycles(PKPRCB Prcb, PKTHREAD Thread)
{
    ULONG64 Now = HalpQueryTime() * TSC_PER_100NS;

    Thread->CycleTime += Now - Prcb->StartCycles;
    Prcb->StartCycles = Now;
}

// Give the processor to the next thread. The caller has put the old one on some list.
NTSTATUS KiSwapThread(PKTHREAD Thread)
{
    PKPRCB Prcb = KeGetCurrentPrcb();
    PKTHREAD Next = KiSelectNextThread(Prcb);

    if (Next != Thread) {
        KiChargeCycles(Prcb, Thread);
        Thread->Running = FALSE;
        Next->State = Running;
        Next->Running = TRUE;
        Next->NextProcessor = Prcb->Number;
        Next->QuantumTarget = KeUpdateSystemTime() + THREAD_QUANTUM;
        Prcb->QuantumEnd = FALSE;
        KiProgramClock(Prcb);
        KiSwapContext(Thread, Next);
    } else {
        Thread->State = Running;
    }
    return (NTSTATUS)Thread->WaitStatus;
}

// The current thread has used up its time: another of at least its priority goes first.
VOID KiQuantumEnd(PKPRCB Prcb)
{
    PKTHREAD Thread = Prcb->CurrentThread, Rival;

    Prcb->QuantumEnd = FALSE;
    if (Thread == Prcb->IdleThread)
        return;
    KeAcquireSpinLockAtDpcLevel(&KiDispatcherLock);
    Rival = Prcb->NextThread ? Prcb->NextThread : KiHighestReady(Prcb);
    if (Rival && Rival->Priority >= Thread->Priority) {
        Thread->WaitReason = WrQuantumEnd;
        KiInsertReadyQueue(Prcb, Thread, FALSE);
        KiSwapThread(Thread);
    } else {
        Thread->QuantumTarget = HalpQueryTime() + THREAD_QUANTUM;
        KiProgramClock(Prcb);
    }
    KiReleaseDispatcherLock();
}

// At DISPATCH_LEVEL: whatever became pending on this processor.
VOID KiDispatchInterrupt(VOID)
{
    PKPRCB Prcb = KeGetCurrentPrcb();
    PKTHREAD Thread = Prcb->CurrentThread;

    if (Thread == Prcb->IdleThread)
        return;                             // the idle loop does it
    KiRetireDpcList(Prcb);
    if (Prcb->QuantumEnd)
        KiQuantumEnd(Prcb);
    Prcb = KeGetCurrentPrcb();
    if (Prcb->NextThread) {
        KeAcquireSpinLockAtDpcLevel(&KiDispatcherLock);
        if (Prcb->NextThread) {
            Thread->Preempted = TRUE;
            Thread->WaitReason = WrPreempted;
            KiInsertReadyQueue(Prcb, Thread, TRUE);
            KiSwapThread(Thread);
        }
        KiReleaseDispatcherLock();
    }
}

KPRIORITY KeQueryPriorityThread(PKTHREAD Thread)
{
    return Thread->Priority;
}

KPRIORITY KeSetPriorityThread(PKTHREAD Thread, KPRIORITY Priority)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    KPRIORITY Old = Thread->Priority;

    if (Thread->State == Ready) {
        KiRemoveReadyQueue(KiProcessorBlock[Thread->NextProcessor], Thread);
        Thread->BasePriority = Thread->Priority = (CHAR)Priority;
        KiReadyThread(Thread);
    } else {
        Thread->BasePriority = Thread->Priority = (CHAR)Priority;
        if (Thread->State == Running && Priority < Old) {
            KiProcessorBlock[Thread->NextProcessor]->QuantumEnd = TRUE;
            if (Thread->NextProcessor != KeGetCurrentProcessorNumber())
                KiDispatcherIpis |= 1ULL << Thread->NextProcessor;
        }
    }
    KiExitDispatcher(OldIrql);
    return Old;
}

DECLSPEC_NORETURN VOID KeTerminateThread(KPRIORITY Increment)
{
    PKTHREAD Thread = KeGetCurrentThread();

    KiAcquireDispatcherLock();
    RemoveEntryList(&Thread->ThreadListEntry);
    Thread->Process->StackCount.StackCount--;
    KiChargeCycles(KeGetCurrentPrcb(), Thread);
    Thread->Process->CycleTime += Thread->CycleTime;            // a process keeps what its dead used
    Thread->Process->ContextSwitches += Thread->ContextSwitches;
    Thread->Header.SignalState = 1;
    KiWaitTest(&Thread->Header);
    Thread->State = Terminated;
    KiSwapThread(Thread);
    KeBugCheckEx(0x139, 0, (ULONG_PTR)Thread, 0, 0);
}

PKTHREAD KeGetCurrentThread(VOID)
{
    PKTHREAD Thread;

    __asm__ volatile("movq %%gs:0x188, %0" : "=r"(Thread));
    return Thread;
}

ULONG KeGetCurrentProcessorNumber(VOID)
{
    return KeGetCurrentPrcb()->Number;
}

ULONG KeGetCurrentProcessorNumberEx(PPROCESSOR_NUMBER Number)
{
    ULONG Index = KeGetCurrentPrcb()->Number;

    if (Number) {
        Number->Group = 0;
        Number->Number = (UCHAR)Index;
        Number->Reserved = 0;
    }
    return Index;
}

ULONG KeQueryActiveProcessorCount(KAFFINITY *Active)
{
    if (Active)
        *Active = KeActiveProcessors.Bitmap[0];
    return KeNumberProcessors;
}

VOID KeEnterCriticalRegion(VOID)
{
    KeGetCurrentThread()->KernelApcDisable--;
}

VOID KeLeaveCriticalRegion(VOID)
{
    KeGetCurrentThread()->KernelApcDisable++;
}
