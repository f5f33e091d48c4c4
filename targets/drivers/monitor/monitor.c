// Reads the pulse device. Readers share a table of samples while they wait for the next one; a
// writer that wants to reorder the table now and then has to wait for them.
#include "ntddk.h"

#define MONITOR_TAG 'tinM'         // "Mnit"
#define MONITOR_READERS 2
#define MONITOR_SAMPLES 64
#define FILE_READ_DATA 0x1

typedef struct _MONITOR_READER {
    PIRP Irp;
    PVOID Thread;
    KEVENT Done;
    ULONG Sample;
    ULONG Count;
} MONITOR_READER, *PMONITOR_READER;

typedef struct _MONITOR {
    PFILE_OBJECT File;
    PDEVICE_OBJECT Device;
    ERESOURCE TableLock;
    KEVENT Stop;
    PVOID Writer;
    ULONG Next;
    ULONG Sorted;
    ULONG Table[MONITOR_SAMPLES];
    MONITOR_READER Readers[MONITOR_READERS];
} MONITOR, *PMONITOR;

DRIVER_INITIALIZE DriverEntry;

static UNICODE_STRING MonitorTargetName = RTL_CONSTANT_STRING(L"\\Device\\Pulse0");
static PMONITOR Monitor;

// The request comes back to its reader, who frees it.
static NTSTATUS MonitorReadDone(PDEVICE_OBJECT Device, PIRP Irp, PVOID Context)
{
    PMONITOR_READER Reader = Context;

    UNREFERENCED_PARAMETER(Device);
    UNREFERENCED_PARAMETER(Irp);
    KeSetEvent(&Reader->Done, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static PIRP MonitorBuildRead(PMONITOR_READER Reader)
{
    PIRP Irp = IoAllocateIrp(Monitor->Device->StackSize, FALSE);
    PIO_STACK_LOCATION Location;

    if (Irp == NULL)
        return NULL;
    Irp->AssociatedIrp.SystemBuffer = &Reader->Sample;
    Irp->Tail.Overlay.Thread = (PVOID)KeGetCurrentThread();
    Irp->Tail.Overlay.OriginalFileObject = Monitor->File;
    Location = IoGetNextIrpStackLocation(Irp);
    Location->MajorFunction = IRP_MJ_READ;
    Location->FileObject = Monitor->File;
    Location->Parameters.Read.Length = sizeof(Reader->Sample);
    IoSetCompletionRoutine(Irp, MonitorReadDone, Reader, TRUE, TRUE, TRUE);
    return Irp;
}

// One read: the table is shared while it is under way. FALSE when the reader is to stop.
static BOOLEAN MonitorReadSample(PMONITOR_READER Reader)
{
    PVOID Events[2] = {&Reader->Done, &Monitor->Stop};
    BOOLEAN GoOn;

    Reader->Irp = MonitorBuildRead(Reader);
    if (Reader->Irp == NULL)
        return FALSE;
    KeEnterCriticalRegion();
    ExAcquireResourceSharedLite(&Monitor->TableLock, TRUE);
    IoCallDriver(Monitor->Device, Reader->Irp);
    GoOn = KeWaitForMultipleObjects(2, Events, WaitAny, Executive, KernelMode, FALSE, NULL, NULL) ==
           STATUS_WAIT_0;
    if (!GoOn) {
        IoCancelIrp(Reader->Irp);
        KeWaitForSingleObject(&Reader->Done, Executive, KernelMode, FALSE, NULL);
    }
    Monitor->Table[(ULONG)InterlockedIncrement((PLONG)&Monitor->Next) % MONITOR_SAMPLES] =
        Reader->Sample;
    Reader->Count++;
    ExReleaseResourceLite(&Monitor->TableLock);
    KeLeaveCriticalRegion();
    IoFreeIrp(Reader->Irp);
    return GoOn;
}

static VOID MonitorReaderThread(PVOID Context)
{
    while (MonitorReadSample(Context))
        continue;
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static VOID MonitorSortTable(VOID)
{
    for (ULONG i = 1; i < MONITOR_SAMPLES; i++)
        for (ULONG j = i; j > 0 && Monitor->Table[j - 1] > Monitor->Table[j]; j--) {
            ULONG Sample = Monitor->Table[j];
            Monitor->Table[j] = Monitor->Table[j - 1];
            Monitor->Table[j - 1] = Sample;
        }
    Monitor->Sorted++;
}

static VOID MonitorWriterThread(PVOID Context)
{
    LARGE_INTEGER Pause = {.QuadPart = -10000};          // 1 ms: let the readers begin

    UNREFERENCED_PARAMETER(Context);
    while (KeWaitForSingleObject(&Monitor->Stop, Executive, KernelMode, FALSE, &Pause) ==
           STATUS_TIMEOUT) {
        KeEnterCriticalRegion();
        ExAcquireResourceExclusiveLite(&Monitor->TableLock, TRUE);
        MonitorSortTable();
        ExReleaseResourceLite(&Monitor->TableLock);
        KeLeaveCriticalRegion();
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static NTSTATUS MonitorStartThread(PKSTART_ROUTINE Routine, PVOID Context, PVOID *Thread)
{
    HANDLE Handle;
    NTSTATUS Status = PsCreateSystemThread(&Handle, THREAD_ALL_ACCESS, NULL, NULL, NULL,
                                           Routine, Context);

    if (!NT_SUCCESS(Status))
        return Status;
    Status = ObReferenceObjectByHandle(Handle, THREAD_ALL_ACCESS, NULL, KernelMode, Thread, NULL);
    ZwClose(Handle);
    return Status;
}

static VOID MonitorWaitForThread(PVOID Thread)
{
    if (Thread == NULL)
        return;
    KeWaitForSingleObject(Thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(Thread);
}

static VOID MonitorUnload(PDRIVER_OBJECT Driver)
{
    UNREFERENCED_PARAMETER(Driver);
    KeSetEvent(&Monitor->Stop, IO_NO_INCREMENT, FALSE);
    for (ULONG i = 0; i < MONITOR_READERS; i++)
        MonitorWaitForThread(Monitor->Readers[i].Thread);
    MonitorWaitForThread(Monitor->Writer);
    ExDeleteResourceLite(&Monitor->TableLock);
    ObDereferenceObject(Monitor->File);
    ExFreePoolWithTag(Monitor, MONITOR_TAG);
}

static NTSTATUS MonitorStart(VOID)
{
    NTSTATUS Status = IoGetDeviceObjectPointer(&MonitorTargetName, FILE_READ_DATA, &Monitor->File,
                                               &Monitor->Device);

    if (!NT_SUCCESS(Status))
        return Status;
    ExInitializeResourceLite(&Monitor->TableLock);
    KeInitializeEvent(&Monitor->Stop, NotificationEvent, FALSE);
    for (ULONG i = 0; i < MONITOR_READERS && NT_SUCCESS(Status); i++) {
        PMONITOR_READER Reader = &Monitor->Readers[i];
        KeInitializeEvent(&Reader->Done, SynchronizationEvent, FALSE);
        Status = MonitorStartThread(MonitorReaderThread, Reader, &Reader->Thread);
    }
    if (NT_SUCCESS(Status))
        Status = MonitorStartThread(MonitorWriterThread, NULL, &Monitor->Writer);
    return Status;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);
    Monitor = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Monitor), MONITOR_TAG);
    if (Monitor == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(Monitor, sizeof(*Monitor));
    Driver->DriverUnload = MonitorUnload;
    return MonitorStart();
}
