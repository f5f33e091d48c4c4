// I/O request packets: a header and a stack of locations, one per driver, used from the last down.
#include "io.h"

#define IRP_TAG ' prI'             // "Irp "
#define NO_MORE_IRP_STACK_LOCATIONS 0x35
#define MULTIPLE_IRP_COMPLETE_REQUESTS 0x44

typedef NTSTATUS IO_COMPLETION_ROUTINE(PDEVICE_OBJECT Device, PIRP Irp, PVOID Context);

PIRP IoAllocateIrp(CCHAR StackSize, BOOLEAN ChargeQuota)
{
    USHORT Size = (USHORT)(sizeof(IRP) + StackSize * sizeof(IO_STACK_LOCATION));
    PIRP Irp = ExAllocatePoolWithTag(NonPagedPoolNx, Size, IRP_TAG);

    UNREFERENCED_PARAMETER(ChargeQuota);
    if (Irp == NULL)
        return NULL;
    memset(Irp, 0, Size);
    Irp->Type = IO_TYPE_IRP;
    Irp->Size = Size;
    Irp->StackCount = StackSize;
    Irp->CurrentLocation = StackSize + 1;
    InitializeListHead(&Irp->ThreadListEntry);
    Irp->Tail.Overlay.CurrentStackLocation = (PIO_STACK_LOCATION)(Irp + 1) + StackSize;
    return Irp;
}

VOID IoFreeIrp(PIRP Irp)
{
    ExFreePoolWithTag(Irp, IRP_TAG);
}

NTSTATUS IofCallDriver(PDEVICE_OBJECT Device, PIRP Irp)
{
    PIO_STACK_LOCATION Location;

    if (--Irp->CurrentLocation <= 0)
        KeBugCheckEx(NO_MORE_IRP_STACK_LOCATIONS, (ULONG_PTR)Irp, 0, 0, 0);
    Location = --Irp->Tail.Overlay.CurrentStackLocation;
    Location->DeviceObject = Device;
    return Device->DriverObject->MajorFunction[Location->MajorFunction](Device, Irp);
}

static BOOLEAN IopWantsCompletion(PIRP Irp, UCHAR Control)
{
    if (Irp->Cancel && (Control & SL_INVOKE_ON_CANCEL))
        return TRUE;
    return (Control & (NT_SUCCESS(Irp->IoStatus.Status) ? SL_INVOKE_ON_SUCCESS
                                                        : SL_INVOKE_ON_ERROR)) != 0;
}

// Every location's completion routine sees the location above it as the current one.
VOID IofCompleteRequest(PIRP Irp, CCHAR Boost)
{
    if (Irp->CurrentLocation > Irp->StackCount + 1)
        KeBugCheckEx(MULTIPLE_IRP_COMPLETE_REQUESTS, (ULONG_PTR)Irp, 0, 0, 0);
    while (Irp->CurrentLocation <= Irp->StackCount) {
        PIO_STACK_LOCATION Location = Irp->Tail.Overlay.CurrentStackLocation++;
        IO_COMPLETION_ROUTINE *Routine = (IO_COMPLETION_ROUTINE *)Location->CompletionRoutine;
        PDEVICE_OBJECT Device = NULL;

        Irp->CurrentLocation++;
        if (Routine == NULL || !IopWantsCompletion(Irp, Location->Control))
            continue;
        if (Irp->CurrentLocation <= Irp->StackCount)
            Device = Irp->Tail.Overlay.CurrentStackLocation->DeviceObject;
        if (Routine(Device, Irp, Location->Context) == STATUS_MORE_PROCESSING_REQUIRED)
            return;
    }
    if (Irp->UserIosb != NULL)
        *Irp->UserIosb = Irp->IoStatus;
    if (Irp->UserEvent != NULL)
        KeSetEvent(Irp->UserEvent, Boost, FALSE);
    IoFreeIrp(Irp);
}

NTSTATUS IopInvalidDeviceRequest(PDEVICE_OBJECT Device, PIRP Irp)
{
    Irp->IoStatus.Status = STATUS_INVALID_DEVICE_REQUEST;
    IofCompleteRequest(Irp, IO_NO_INCREMENT);
    return STATUS_INVALID_DEVICE_REQUEST;
}
