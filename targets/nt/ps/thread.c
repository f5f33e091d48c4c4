// Threads: creation, start and end.
#include "psp.h"

#define TAG_NAME 'mNhT'                     // "ThNm"
#define IO_PRIORITY_NORMAL 2
#define MEMORY_PRIORITY_NORMAL 5

DECLSPEC_NORETURN VOID PspUnhandledExceptionInSystemThread(PEXCEPTION_POINTERS Pointers);

static PETHREAD PsReaperListHead = NULL;    // terminated threads, chained by ReaperLink
static KSPIN_LOCK PspReaperLock = 0;
static KEVENT PspReaperEvent;

// The thread exists but is on no list and does not run yet.
NTSTATUS PspAllocateThread(PEPROCESS Process, PSP_SYSTEM_ROUTINE *SystemRoutine,
                           PKSTART_ROUTINE Start, PVOID Context, PETHREAD *ThreadOut)
{
    PVOID Stack = MmCreateKernelStack();
    PETHREAD Thread;
    NTSTATUS Status;

    if (Stack == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    Status = ObCreateObject(KernelMode, PsThreadType, NULL, KernelMode, NULL, sizeof(ETHREAD), 0, 0,
                            (PVOID *)&Thread);
    if (!NT_SUCCESS(Status)) {
        MmDeleteKernelStack(Stack);
        return Status;
    }
    memset(Thread, 0, sizeof(*Thread));
    ObfReferenceObject(Process);
    Thread->Tcb.SystemThread = Process == PsInitialSystemProcess;
    KeInitializeThread(&Thread->Tcb, Stack, SystemRoutine, Start, Context, &Process->Pcb);
    InitializeListHead(&Thread->PostBlockList);
    InitializeListHead(&Thread->IrpList);
    InitializeListHead(&Thread->ActiveTimerListHead);
    InitializeListHead(&Thread->OwnerEntryListHead);
    Thread->Cid.UniqueProcess = Process->UniqueProcessId;
    Thread->Cid.UniqueThread = PspCreateCid(Thread);
    KeInitializeSemaphore(&Thread->AlpcWaitSemaphore, 0, 1);
    Thread->StartAddress = (PVOID)Start;
    Thread->Win32StartAddress = (PVOID)Start;
    Thread->ExitStatus = STATUS_PENDING;
    Thread->ThreadIoPriority = IO_PRIORITY_NORMAL;
    Thread->ThreadPagePriority = MEMORY_PRIORITY_NORMAL;
    KeQuerySystemTimePrecise(&Thread->CreateTime);
    SeAssignSecurity(Thread, PspTokenOf(Process));
    *ThreadOut = Thread;
    return ObInsertObject(Thread, NULL, 0, 0, NULL, NULL);
}

VOID PspInsertThread(PETHREAD Thread)
{
    PEPROCESS Process = (PEPROCESS)Thread->Tcb.Process;

    Thread->ThreadInserted = 1;
    InsertTailList(&Process->ThreadListHead, &Thread->ThreadListEntry);
    Process->ActiveThreads++;
    if (Process->ActiveThreads > Process->ActiveThreadsHighWatermark)
        Process->ActiveThreadsHighWatermark = Process->ActiveThreads;
    PspChargeQuota(Process, NonPagedPool, sizeof(*Thread));
    KeStartThread(&Thread->Tcb);
}

NTSTATUS PspCreateThread(PEPROCESS Process, PSP_SYSTEM_ROUTINE *SystemRoutine,
                         PKSTART_ROUTINE Start, PVOID Context, PETHREAD *ThreadOut)
{
    NTSTATUS Status = PspAllocateThread(Process, SystemRoutine, Start, Context, ThreadOut);

    if (NT_SUCCESS(Status))
        PspInsertThread(*ThreadOut);
    return Status;
}

// The handle comes first: once it runs, the thread may end and be gone.
static NTSTATUS PspOpenAndInsertThread(PETHREAD Thread, ACCESS_MASK Access, PHANDLE Handle)
{
    NTSTATUS Status = ObOpenObjectByPointer(Thread, 0, NULL, Access, PsThreadType, KernelMode,
                                            Handle);

    PspInsertThread(Thread);
    return Status;
}

NTSTATUS PsCreateSystemThread(PHANDLE Handle, ULONG Access, POBJECT_ATTRIBUTES Attributes,
                              HANDLE Process, PCLIENT_ID ClientId, PKSTART_ROUTINE Start,
                              PVOID Context)
{
    PETHREAD Thread;
    NTSTATUS Status = PspAllocateThread(PsInitialSystemProcess, PspSystemThreadStartup, Start,
                                        Context, &Thread);

    if (!NT_SUCCESS(Status))
        return Status;
    if (ClientId)
        *ClientId = Thread->Cid;
    return PspOpenAndInsertThread(Thread, Access, Handle);
}

// The same for a thread that never leaves a processor.
NTSTATUS PspCreateBoundSystemThread(PHANDLE Handle, ULONG Processor, PKSTART_ROUTINE Start,
                                    PVOID Context)
{
    PETHREAD Thread;
    NTSTATUS Status = PspAllocateThread(PsInitialSystemProcess, PspSystemThreadStartup, Start,
                                        Context, &Thread);

    if (!NT_SUCCESS(Status))
        return Status;
    Thread->Tcb.Affinity.Mask = 1ULL << Processor;
    return PspOpenAndInsertThread(Thread, THREAD_ALL_ACCESS, Handle);
}

VOID PspSystemThreadStartup(PKSTART_ROUTINE Start, PVOID Context)
{
    Start(Context);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

// Stands where Windows has this thread's exception filter.
DECLSPEC_NORETURN VOID PspUnhandledExceptionInSystemThread(PEXCEPTION_POINTERS Pointers)
{
    PEXCEPTION_RECORD Record = Pointers->ExceptionRecord;

    KeBugCheckEx(0x7E, (ULONG_PTR)Record->ExceptionCode, (ULONG_PTR)Record->ExceptionAddress,
                 (ULONG_PTR)Record, (ULONG_PTR)Pointers->ContextRecord);
}

static DECLSPEC_NORETURN VOID PspExitThread(NTSTATUS Status)
{
    PETHREAD Thread = (PETHREAD)KeGetCurrentThread();
    PEPROCESS Process = (PEPROCESS)Thread->Tcb.Process;

    if (KeGetCurrentIrql() != PASSIVE_LEVEL)
        KeBugCheckEx(0x0A, 0, KeGetCurrentIrql(), 0, (ULONG_PTR)PspExitThread);
    Thread->Terminated = 1;
    Thread->ExitStatus = Status;
    KeQuerySystemTimePrecise(&Thread->ExitTime);
    KeAcquireSpinLockRaiseToDpc(&PspReaperLock);
    RemoveEntryList(&Thread->ThreadListEntry);
    Process->ActiveThreads--;
    Process->ProcessQuotaUsage[NonPagedPool] -= sizeof(*Thread);
    Thread->ReaperLink = PsReaperListHead;
    PsReaperListHead = Thread;
    KeReleaseSpinLockFromDpcLevel(&PspReaperLock);
    KeSetEvent(&PspReaperEvent, 0, FALSE);
    KeTerminateThread(0);
}

NTSTATUS PsTerminateSystemThread(NTSTATUS Status)
{
    PspExitThread(Status);
}

// A thread's stack cannot be freed by the thread itself.
static VOID PspReaper(PVOID Context)
{
    for (;;) {
        KIRQL OldIrql;
        PETHREAD Thread, Next;

        KeWaitForSingleObject(&PspReaperEvent, Executive, KernelMode, FALSE, NULL);
        OldIrql = KeAcquireSpinLockRaiseToDpc(&PspReaperLock);
        Thread = PsReaperListHead;
        PsReaperListHead = NULL;
        KeReleaseSpinLock(&PspReaperLock, OldIrql);
        for (; Thread; Thread = Next) {
            Next = Thread->ReaperLink;
            // Returns only when the thread has left its stack: it holds the dispatcher lock till then.
            KeWaitForSingleObject(Thread, Executive, KernelMode, FALSE, NULL);
            MmDeleteKernelStack(Thread->Tcb.StackBase);
            Thread->Tcb.KernelStackResident = 0;
            ObfDereferenceObject(Thread);
        }
    }
}

VOID PspStartSystemThreads(VOID)
{
    PETHREAD Thread;

    KeInitializeEvent(&PspReaperEvent, SynchronizationEvent, FALSE);
    PspCreateThread(PsInitialSystemProcess, PspSystemThreadStartup, PspReaper, NULL, &Thread);
    PspCreateThread(PsInitialSystemProcess, PspSystemThreadStartup, KeBalanceSetManager, NULL,
                    &Thread);
}

// What SetThreadDescription leaves: the string and its text in one block.
VOID PspNameThread(PETHREAD Thread, PCWSTR Name)
{
    UNICODE_STRING Source;
    PUNICODE_STRING Copy;

    RtlInitUnicodeString(&Source, Name);
    Copy = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Copy) + Source.MaximumLength, TAG_NAME);
    if (Copy == NULL)
        return;
    Copy->Buffer = (PWCHAR)(Copy + 1);
    Copy->MaximumLength = Source.MaximumLength;
    RtlCopyUnicodeString(Copy, &Source);
    Thread->ThreadName = Copy;
}

VOID PspThreadDelete(PVOID Object)
{
    PETHREAD Thread = Object;

    if (Thread->ThreadName)
        ExFreePoolWithTag(Thread->ThreadName, TAG_NAME);
    ExDestroyHandle(PspCidTable, Thread->Cid.UniqueThread);
    ObfDereferenceObject(Thread->Tcb.Process);
}

HANDLE PsGetCurrentThreadId(VOID)
{
    return ((PETHREAD)KeGetCurrentThread())->Cid.UniqueThread;
}
