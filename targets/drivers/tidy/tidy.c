// A driver that cleans up after itself. A periodic timer's DPC queues a work item, which runs one
// round of allocations: paged and nonpaged blocks, lookaside entries, a big buffer. Every round
// frees what it took; what lives as long as the driver is freed at unload.
#include "ntddk.h"

#define TIDY_TAG 'ydiT'            // "Tidy": the driver's own tables
#define TIDY_NONPAGED_TAG 'pNdT'   // "TdNp"
#define TIDY_PAGED_TAG 'gPdT'      // "TdPg"
#define TIDY_LIST_TAG 'kLdT'       // "TdLk"
#define TIDY_BIG_TAG 'gBdT'        // "TdBg"

#define TIDY_PERIOD_MS 250
#define TIDY_MS 10000              // 100 ns units in a millisecond
#define TIDY_BLOCKS 8
#define TIDY_BIG_SIZE 0x5000

typedef struct _TIDY_NODE {
    LIST_ENTRY Link;
    ULONG Round;
    ULONG Value;
} TIDY_NODE, *PTIDY_NODE;

typedef struct _TIDY_EXTENSION {
    PDEVICE_OBJECT Device;
    KTIMER Timer;
    KDPC TimerDpc;
    KSPIN_LOCK Lock;
    BOOLEAN Stopping;
    BOOLEAN RoundPending;
    KEVENT RoundDone;
    PIO_WORKITEM WorkItem;
    NPAGED_LOOKASIDE_LIST Nodes;
    LIST_ENTRY NodeList;
    PULONG History;
    ULONG Rounds;
} TIDY_EXTENSION, *PTIDY_EXTENSION;

#define TIDY_HISTORY 256

DRIVER_INITIALIZE DriverEntry;

static UNICODE_STRING TidyDeviceName = RTL_CONSTANT_STRING(L"\\Device\\Tidy");

static VOID TidyFillNodes(PTIDY_EXTENSION Extension)
{
    for (ULONG i = 0; i < TIDY_BLOCKS; i++) {
        PTIDY_NODE Node = ExAllocateFromNPagedLookasideList(&Extension->Nodes);
        if (Node == NULL)
            return;
        Node->Round = Extension->Rounds;
        Node->Value = i;
        InsertTailList(&Extension->NodeList, &Node->Link);
    }
}

static VOID TidyEmptyNodes(PTIDY_EXTENSION Extension)
{
    while (!IsListEmpty(&Extension->NodeList))
        ExFreeToNPagedLookasideList(
            &Extension->Nodes,
            CONTAINING_RECORD(RemoveHeadList(&Extension->NodeList), TIDY_NODE, Link));
}

static VOID TidyUseBlocks(PTIDY_EXTENSION Extension)
{
    PVOID Paged[TIDY_BLOCKS], NonPaged[TIDY_BLOCKS];

    for (ULONG i = 0; i < TIDY_BLOCKS; i++) {
        SIZE_T Size = 24 + ((Extension->Rounds * 7 + i * 53) & 0x3FF);
        Paged[i] = ExAllocatePoolWithTag(PagedPool, Size, TIDY_PAGED_TAG);
        NonPaged[i] = ExAllocatePool2(POOL_FLAG_NON_PAGED, Size, TIDY_NONPAGED_TAG);
    }
    for (ULONG i = 0; i < TIDY_BLOCKS; i++) {
        if (Paged[i] != NULL)
            ExFreePoolWithTag(Paged[i], TIDY_PAGED_TAG);
        if (NonPaged[i] != NULL)
            ExFreePoolWithTag(NonPaged[i], TIDY_NONPAGED_TAG);
    }
}

static VOID TidyUseBigBuffer(PTIDY_EXTENSION Extension)
{
    PULONG Buffer = ExAllocatePoolWithTag(NonPagedPoolNx, TIDY_BIG_SIZE, TIDY_BIG_TAG);

    if (Buffer == NULL)
        return;
    RtlFillMemory(Buffer, TIDY_BIG_SIZE, (UCHAR)Extension->Rounds);
    Extension->History[Extension->Rounds % TIDY_HISTORY] = Buffer[TIDY_BIG_SIZE / 4 - 1];
    ExFreePoolWithTag(Buffer, TIDY_BIG_TAG);
}

static VOID TidyWorkRoutine(PDEVICE_OBJECT Device, PVOID Context)
{
    PTIDY_EXTENSION Extension = Context;
    KIRQL Irql;

    UNREFERENCED_PARAMETER(Device);
    TidyFillNodes(Extension);
    TidyUseBlocks(Extension);
    TidyUseBigBuffer(Extension);
    TidyEmptyNodes(Extension);
    Extension->Rounds++;
    KeAcquireSpinLock(&Extension->Lock, &Irql);
    Extension->RoundPending = FALSE;
    KeSetEvent(&Extension->RoundDone, IO_NO_INCREMENT, FALSE);
    KeReleaseSpinLock(&Extension->Lock, Irql);
}

static VOID TidyTimerDpc(PKDPC Dpc, PVOID Context, PVOID Argument1, PVOID Argument2)
{
    PTIDY_EXTENSION Extension = Context;
    BOOLEAN Queue;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(Argument1);
    UNREFERENCED_PARAMETER(Argument2);
    KeAcquireSpinLockAtDpcLevel(&Extension->Lock);
    Queue = !Extension->Stopping && !Extension->RoundPending;
    if (Queue) {
        Extension->RoundPending = TRUE;
        KeClearEvent(&Extension->RoundDone);
    }
    KeReleaseSpinLockFromDpcLevel(&Extension->Lock);
    if (Queue)
        IoQueueWorkItem(Extension->WorkItem, TidyWorkRoutine, DelayedWorkQueue, Extension);
}

static VOID TidyUnload(PDRIVER_OBJECT Driver)
{
    PTIDY_EXTENSION Extension = Driver->DeviceObject->DeviceExtension;
    KIRQL Irql;

    KeAcquireSpinLock(&Extension->Lock, &Irql);
    Extension->Stopping = TRUE;
    KeReleaseSpinLock(&Extension->Lock, Irql);
    KeCancelTimer(&Extension->Timer);
    KeFlushQueuedDpcs();
    KeWaitForSingleObject(&Extension->RoundDone, Executive, KernelMode, FALSE, NULL);
    IoFreeWorkItem(Extension->WorkItem);
    ExDeleteNPagedLookasideList(&Extension->Nodes);
    ExFreePoolWithTag(Extension->History, TIDY_TAG);
    IoDeleteDevice(Driver->DeviceObject);
}

static NTSTATUS TidyPrepare(PDEVICE_OBJECT Device, PTIDY_EXTENSION Extension)
{
    Extension->Device = Device;
    Extension->History =
        ExAllocatePool2(POOL_FLAG_PAGED, TIDY_HISTORY * sizeof(*Extension->History), TIDY_TAG);
    if (Extension->History == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    Extension->WorkItem = IoAllocateWorkItem(Device);
    if (Extension->WorkItem == NULL) {
        ExFreePoolWithTag(Extension->History, TIDY_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ExInitializeNPagedLookasideList(&Extension->Nodes, NULL, NULL, 0, sizeof(TIDY_NODE),
                                    TIDY_LIST_TAG, 0);
    InitializeListHead(&Extension->NodeList);
    KeInitializeSpinLock(&Extension->Lock);
    KeInitializeEvent(&Extension->RoundDone, NotificationEvent, TRUE);
    KeInitializeDpc(&Extension->TimerDpc, TidyTimerDpc, Extension);
    KeInitializeTimerEx(&Extension->Timer, SynchronizationTimer);
    return STATUS_SUCCESS;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    LARGE_INTEGER DueTime;
    PTIDY_EXTENSION Extension;
    PDEVICE_OBJECT Device;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    Status = IoCreateDevice(Driver, sizeof(*Extension), &TidyDeviceName, FILE_DEVICE_UNKNOWN,
                            FILE_DEVICE_SECURE_OPEN, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    Extension = Device->DeviceExtension;
    Status = TidyPrepare(Device, Extension);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(Device);
        return Status;
    }
    Driver->DriverUnload = TidyUnload;
    DueTime.QuadPart = -(LONGLONG)TIDY_PERIOD_MS * TIDY_MS;
    KeSetTimerEx(&Extension->Timer, DueTime, TIDY_PERIOD_MS, &Extension->TimerDpc);
    return STATUS_SUCCESS;
}
