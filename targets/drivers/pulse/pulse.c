// A device that gives a sample now and then. Reads wait in a queue until there is one; a timer plays
// the hardware. A read that waits can be cancelled.
#include "ntddk.h"

#define PULSE_VECTOR 0x91          // IRQL 9
#define PULSE_PERIOD_MS 400
#define PULSE_MS 10000             // 100 ns units in a millisecond

typedef struct _PULSE_EXTENSION {
    PDEVICE_OBJECT Device;
    PKINTERRUPT Interrupt;
    KTIMER Timer;
    KDPC TimerDpc;
    KDPC ReadDpc;
    KSPIN_LOCK QueueLock;
    LIST_ENTRY Reads;
    ULONG Samples;
    ULONG LastSample;
} PULSE_EXTENSION, *PPULSE_EXTENSION;

DRIVER_INITIALIZE DriverEntry;

static UNICODE_STRING PulseDeviceName = RTL_CONSTANT_STRING(L"\\Device\\Pulse0");

static NTSTATUS PulseComplete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information)
{
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

static VOID PulseCancelRead(PDEVICE_OBJECT Device, PIRP Irp)
{
    PPULSE_EXTENSION Extension = Device->DeviceExtension;
    KIRQL Irql;

    IoReleaseCancelSpinLock(Irp->CancelIrql);
    KeAcquireSpinLock(&Extension->QueueLock, &Irql);
    RemoveEntryList(&Irp->Tail.Overlay.ListEntry);
    KeReleaseSpinLock(&Extension->QueueLock, Irql);
    PulseComplete(Irp, STATUS_CANCELLED, 0);
}

// A reader has come: its request waits for the next sample.
static NTSTATUS PulseRead(PDEVICE_OBJECT Device, PIRP Irp)
{
    PPULSE_EXTENSION Extension = Device->DeviceExtension;
    KIRQL Irql;

    if (IoGetCurrentIrpStackLocation(Irp)->Parameters.Read.Length < sizeof(ULONG))
        return PulseComplete(Irp, STATUS_BUFFER_TOO_SMALL, 0);
    IoMarkIrpPending(Irp);
    KeAcquireSpinLock(&Extension->QueueLock, &Irql);
    InsertTailList(&Extension->Reads, &Irp->Tail.Overlay.ListEntry);
    IoSetCancelRoutine(Irp, PulseCancelRead);
    KeReleaseSpinLock(&Extension->QueueLock, Irql);
    return STATUS_PENDING;
}

// The oldest read that nobody is cancelling, out of the queue.
static PIRP PulseNextRead(PPULSE_EXTENSION Extension)
{
    PIRP Found = NULL;
    KIRQL Irql;

    KeAcquireSpinLock(&Extension->QueueLock, &Irql);
    if (!IsListEmpty(&Extension->Reads)) {
        PIRP Irp = CONTAINING_RECORD(Extension->Reads.Flink, IRP, Tail.Overlay.ListEntry);
        if (IoSetCancelRoutine(Irp, NULL) != NULL) {
            RemoveEntryList(&Irp->Tail.Overlay.ListEntry);
            Found = Irp;
        }
    }
    KeReleaseSpinLock(&Extension->QueueLock, Irql);
    return Found;
}

// Hands the sample to one reader.
static VOID PulseReadDpc(PKDPC Dpc, PVOID Context, PVOID Argument1, PVOID Argument2)
{
    PPULSE_EXTENSION Extension = Context;
    PIRP Irp = PulseNextRead(Extension);

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(Argument1);
    UNREFERENCED_PARAMETER(Argument2);
    if (Irp == NULL)
        return;
    *(PULONG)Irp->AssociatedIrp.SystemBuffer = Extension->LastSample;
    PulseComplete(Irp, STATUS_SUCCESS, sizeof(ULONG));
}

static VOID PulseTakeSample(PPULSE_EXTENSION Extension)
{
    Extension->Samples++;
    Extension->LastSample = Extension->LastSample * 1664525 + 1013904223;
}

// What the interrupt does, should the hardware raise one: the rest is left to the DPC.
static BOOLEAN PulseInterrupt(PKINTERRUPT Interrupt, PVOID Context)
{
    PPULSE_EXTENSION Extension = Context;

    UNREFERENCED_PARAMETER(Interrupt);
    KeInsertQueueDpc(&Extension->ReadDpc, NULL, NULL);
    PulseTakeSample(Extension);
    return TRUE;
}

static VOID PulseTimerDpc(PKDPC Dpc, PVOID Context, PVOID Argument1, PVOID Argument2)
{
    PPULSE_EXTENSION Extension = Context;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(Argument1);
    UNREFERENCED_PARAMETER(Argument2);
    PulseInterrupt(Extension->Interrupt, Extension);
}

static NTSTATUS PulseOpenClose(PDEVICE_OBJECT Device, PIRP Irp)
{
    UNREFERENCED_PARAMETER(Device);
    return PulseComplete(Irp, STATUS_SUCCESS, 0);
}

static VOID PulseUnload(PDRIVER_OBJECT Driver)
{
    PPULSE_EXTENSION Extension = Driver->DeviceObject->DeviceExtension;

    KeCancelTimer(&Extension->Timer);
    KeFlushQueuedDpcs();
    IoDisconnectInterrupt(Extension->Interrupt);
    IoDeleteDevice(Driver->DeviceObject);
}

static NTSTATUS PulseStart(PPULSE_EXTENSION Extension)
{
    LARGE_INTEGER DueTime = {.QuadPart = -(LONGLONG)PULSE_PERIOD_MS * PULSE_MS};
    NTSTATUS Status;

    KeInitializeSpinLock(&Extension->QueueLock);
    InitializeListHead(&Extension->Reads);
    KeInitializeDpc(&Extension->ReadDpc, PulseReadDpc, Extension);
    KeInitializeDpc(&Extension->TimerDpc, PulseTimerDpc, Extension);
    KeInitializeTimerEx(&Extension->Timer, SynchronizationTimer);
    Status = IoConnectInterrupt(&Extension->Interrupt, PulseInterrupt, Extension, NULL,
                                PULSE_VECTOR, PULSE_VECTOR >> 4, PULSE_VECTOR >> 4, Latched, FALSE,
                                MAXULONG64, FALSE);
    if (NT_SUCCESS(Status))
        KeSetTimerEx(&Extension->Timer, DueTime, PULSE_PERIOD_MS, &Extension->TimerDpc);
    return Status;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    PDEVICE_OBJECT Device;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    Status = IoCreateDevice(Driver, sizeof(PULSE_EXTENSION), &PulseDeviceName, FILE_DEVICE_UNKNOWN,
                            FILE_DEVICE_SECURE_OPEN, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    Device->Flags |= DO_BUFFERED_IO;
    Driver->MajorFunction[IRP_MJ_CREATE] = PulseOpenClose;
    Driver->MajorFunction[IRP_MJ_CLEANUP] = PulseOpenClose;
    Driver->MajorFunction[IRP_MJ_CLOSE] = PulseOpenClose;
    Driver->MajorFunction[IRP_MJ_READ] = PulseRead;
    Driver->DriverUnload = PulseUnload;
    ((PPULSE_EXTENSION)Device->DeviceExtension)->Device = Device;
    Status = PulseStart(Device->DeviceExtension);
    if (!NT_SUCCESS(Status))
        IoDeleteDevice(Device);
    return Status;
}
