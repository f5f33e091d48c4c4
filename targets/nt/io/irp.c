// I/O request packets: a header and a stack of locations, one per driver, used from the last down.
#include "io.h"

#define IRP_TAG ' prI'             // "Irp "
#define SMALL_IRP_TAG 'sprI'       // "Irps"
#define MEDIUM_IRP_TAG 'mprI'      // "Irpm"
#define LARGE_IRP_TAG 'lprI'       // "Irpl"
#define MEDIUM_IRP_STACK_LOCATIONS 4
#define LARGE_IRP_STACK_LOCATIONS 8
#define IRP_LOOKASIDE_ALLOCATION 0x08      // _IRP.AllocationFlags
#define NO_MORE_IRP_STACK_LOCATIONS 0x35
#define MULTIPLE_IRP_COMPLETE_REQUESTS 0x44

static KSPIN_LOCK IopCancelSpinLock = 0;

static USHORT IopSizeOfIrp(CCHAR StackSize)
{
    return (USHORT)(sizeof(IRP) + StackSize * sizeof(IO_STACK_LOCATION));
}

// Requests with few stack locations come from lists of each processor, then of the system.
VOID IopInitializeIrpLookasideLists(VOID)
{
    ExpInitializeProcessorLookaside(LookasideSmallIrpList, IopSizeOfIrp(1), SMALL_IRP_TAG);
    ExpInitializeProcessorLookaside(LookasideMediumIrpList,
                                    IopSizeOfIrp(MEDIUM_IRP_STACK_LOCATIONS), MEDIUM_IRP_TAG);
    ExpInitializeProcessorLookaside(LookasideLargeIrpList, IopSizeOfIrp(LARGE_IRP_STACK_LOCATIONS),
                                    LARGE_IRP_TAG);
}

static PP_NPAGED_LOOKASIDE_NUMBER IopIrpList(CCHAR StackSize)
{
    if (StackSize == 1)
        return LookasideSmallIrpList;
    return StackSize <= MEDIUM_IRP_STACK_LOCATIONS ? LookasideMediumIrpList : LookasideLargeIrpList;
}

PIRP IoAllocateIrp(CCHAR StackSize, BOOLEAN ChargeQuota)
{
    USHORT Size = IopSizeOfIrp(StackSize);
    BOOLEAN Listed = StackSize <= LARGE_IRP_STACK_LOCATIONS;
    PIRP Irp = Listed ? ExpAllocateFromProcessorLookaside(IopIrpList(StackSize))
                      : ExAllocatePoolWithTag(NonPagedPoolNx, Size, IRP_TAG);

    UNREFERENCED_PARAMETER(ChargeQuota);
    if (Irp == NULL)
        return NULL;
    memset(Irp, 0, Size);
    Irp->Type = IO_TYPE_IRP;
    Irp->Size = Size;
    Irp->AllocationProcessorNumber = (USHORT)KeGetCurrentPrcb()->Number;
    Irp->AllocationFlags = Listed ? IRP_LOOKASIDE_ALLOCATION : 0;
    Irp->StackCount = StackSize;
    Irp->CurrentLocation = StackSize + 1;
    InitializeListHead(&Irp->ThreadListEntry);
    Irp->Tail.Overlay.CurrentStackLocation = (PIO_STACK_LOCATION)(Irp + 1) + StackSize;
    return Irp;
}

VOID IoFreeIrp(PIRP Irp)
{
    if (Irp->AllocationFlags & IRP_LOOKASIDE_ALLOCATION)
        ExpFreeToProcessorLookaside(IopIrpList(Irp->StackCount), Irp);
    else
        ExFreePoolWithTag(Irp, IRP_TAG);
}

VOID IoAcquireCancelSpinLock(PKIRQL Irql)
{
    *Irql = KeAcquireSpinLockRaiseToDpc(&IopCancelSpinLock);
}

VOID IoReleaseCancelSpinLock(KIRQL Irql)
{
    KeReleaseSpinLock(&IopCancelSpinLock, Irql);
}

// The cancel routine runs with the cancel spin lock and releases it.
BOOLEAN IoCancelIrp(PIRP Irp)
{
    DRIVER_CANCEL *Routine;
    KIRQL Irql;

    IoAcquireCancelSpinLock(&Irql);
    Irp->Cancel = TRUE;
    Routine = IoSetCancelRoutine(Irp, NULL);
    if (Routine == NULL) {
        IoReleaseCancelSpinLock(Irql);
        return FALSE;
    }
    Irp->CancelIrql = Irql;
    Routine(IoGetCurrentIrpStackLocation(Irp)->DeviceObject, Irp);
    return TRUE;
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
        Irp->PendingReturned = (Location->Control & SL_PENDING_RETURNED) != 0;
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
