// A filter above pulse.sys: it passes every request on and counts the reads that come back.
#include "ntddk.h"

typedef struct _FILTER_EXTENSION {
    PDEVICE_OBJECT Lower;
    ULONG Reads;
    ULONG Failures;
} FILTER_EXTENSION, *PFILTER_EXTENSION;

DRIVER_INITIALIZE DriverEntry;

static UNICODE_STRING FilterTargetName = RTL_CONSTANT_STRING(L"\\Device\\Pulse0");

static NTSTATUS FilterReadCompletion(PDEVICE_OBJECT Device, PIRP Irp, PVOID Context)
{
    PFILTER_EXTENSION Extension = Context;

    UNREFERENCED_PARAMETER(Device);
    InterlockedIncrement((PLONG)&Extension->Reads);
    if (!NT_SUCCESS(Irp->IoStatus.Status))
        InterlockedIncrement((PLONG)&Extension->Failures);
    if (Irp->PendingReturned)
        IoMarkIrpPending(Irp);
    return STATUS_SUCCESS;
}

static NTSTATUS FilterRead(PDEVICE_OBJECT Device, PIRP Irp)
{
    PFILTER_EXTENSION Extension = Device->DeviceExtension;

    IoCopyCurrentIrpStackLocationToNext(Irp);
    IoSetCompletionRoutine(Irp, FilterReadCompletion, Extension, TRUE, TRUE, TRUE);
    return IoCallDriver(Extension->Lower, Irp);
}

// The stack location is used as it is by the driver below.
static NTSTATUS FilterPassOn(PDEVICE_OBJECT Device, PIRP Irp)
{
    PFILTER_EXTENSION Extension = Device->DeviceExtension;

    Irp->CurrentLocation++;
    Irp->Tail.Overlay.CurrentStackLocation++;
    return IoCallDriver(Extension->Lower, Irp);
}

static VOID FilterUnload(PDRIVER_OBJECT Driver)
{
    PFILTER_EXTENSION Extension = Driver->DeviceObject->DeviceExtension;

    IoDetachDevice(Extension->Lower);
    IoDeleteDevice(Driver->DeviceObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    PFILTER_EXTENSION Extension;
    PDEVICE_OBJECT Device, Target;
    PFILE_OBJECT File;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    for (ULONG i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++)
        Driver->MajorFunction[i] = FilterPassOn;
    Driver->MajorFunction[IRP_MJ_READ] = FilterRead;
    Driver->DriverUnload = FilterUnload;
    Status = IoGetDeviceObjectPointer(&FilterTargetName, 0, &File, &Target);
    if (!NT_SUCCESS(Status))
        return Status;
    Status = IoCreateDevice(Driver, sizeof(FILTER_EXTENSION), NULL, FILE_DEVICE_UNKNOWN, 0, FALSE,
                            &Device);
    if (NT_SUCCESS(Status)) {
        Device->Flags |= DO_BUFFERED_IO;
        Extension = Device->DeviceExtension;
        Extension->Lower = IoAttachDeviceToDeviceStack(Device, Target);
        if (Extension->Lower == NULL) {
            IoDeleteDevice(Device);
            Status = STATUS_NO_SUCH_DEVICE;
        }
    }
    ObDereferenceObject(File);
    return Status;
}
