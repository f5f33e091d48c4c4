// File objects: a device that somebody has opened. There are no file systems, so a file object has no
// name of its own and every request goes to the device's stack.
#include "io.h"

#define FO_SYNCHRONOUS_IO 0x2
#define FO_DIRECT_DEVICE_OPEN 0x800
#define FILE_READ_DATA 0x1
#define FILE_WRITE_DATA 0x2

// Sends one request that carries nothing but its function and waits for it.
static NTSTATUS IopSendFileRequest(PFILE_OBJECT File, UCHAR MajorFunction)
{
    PDEVICE_OBJECT Device = IoGetAttachedDevice(File->DeviceObject);
    PIRP Irp = IoAllocateIrp(Device->StackSize, FALSE);
    IO_STATUS_BLOCK Result;
    KEVENT Done;

    if (Irp == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    KeInitializeEvent(&Done, SynchronizationEvent, FALSE);
    Irp->UserIosb = &Result;
    Irp->UserEvent = &Done;
    Irp->Tail.Overlay.Thread = (PETHREAD)KeGetCurrentThread();
    Irp->Tail.Overlay.OriginalFileObject = File;
    IoGetNextIrpStackLocation(Irp)->MajorFunction = MajorFunction;
    IoGetNextIrpStackLocation(Irp)->FileObject = File;
    if (IofCallDriver(Device, Irp) == STATUS_PENDING || KeReadStateEvent(&Done) == 0)
        KeWaitForSingleObject(&Done, Executive, KernelMode, FALSE, NULL);
    return Result.Status;
}

static VOID IopFillFileObject(PFILE_OBJECT File, PDEVICE_OBJECT Device, ACCESS_MASK Access)
{
    memset(File, 0, sizeof(*File));
    File->Type = IO_TYPE_FILE;
    File->Size = sizeof(*File);
    File->DeviceObject = Device;
    File->Flags = FO_SYNCHRONOUS_IO | FO_DIRECT_DEVICE_OPEN;
    File->ReadAccess = (Access & FILE_READ_DATA) != 0;
    File->WriteAccess = (Access & FILE_WRITE_DATA) != 0;
    File->SharedRead = File->SharedWrite = TRUE;
    KeInitializeEvent(&File->Lock, SynchronizationEvent, FALSE);
    KeInitializeEvent(&File->Event, NotificationEvent, FALSE);
    InitializeListHead(&File->IrpList);
    InterlockedIncrement(&Device->ReferenceCount);
}

// Opens a device: the answer is the top of its stack and the file object that keeps it open.
NTSTATUS IoGetDeviceObjectPointer(PUNICODE_STRING Name, ACCESS_MASK Access, PFILE_OBJECT *File,
                                  PDEVICE_OBJECT *Device)
{
    OBJECT_ATTRIBUTES Attributes;
    PDEVICE_OBJECT Target;
    PFILE_OBJECT New;
    NTSTATUS Status = ObReferenceObjectByName(Name, OBJ_CASE_INSENSITIVE, NULL, 0,
                                              IoDeviceObjectType, KernelMode, NULL,
                                              (PVOID *)&Target);

    if (!NT_SUCCESS(Status))
        return Status;
    InitializeObjectAttributes(&Attributes, NULL, 0);
    Status = ObCreateObject(KernelMode, IoFileObjectType, &Attributes, KernelMode, NULL,
                            sizeof(FILE_OBJECT), 0, 0, (PVOID *)&New);
    if (!NT_SUCCESS(Status)) {
        ObDereferenceObject(Target);
        return Status;
    }
    IopFillFileObject(New, Target, Access);
    Status = ObInsertObject(New, NULL, 0, 0, NULL, NULL);
    if (NT_SUCCESS(Status))
        Status = IopSendFileRequest(New, IRP_MJ_CREATE);
    if (!NT_SUCCESS(Status)) {
        ObDereferenceObject(New);
        return Status;
    }
    *File = New;
    *Device = IoGetAttachedDevice(Target);
    return STATUS_SUCCESS;
}

// The last reference is gone: the driver hears of it, and the device is free.
VOID IopDeleteFile(PVOID Object)
{
    PFILE_OBJECT File = Object;

    if (File->DeviceObject == NULL)
        return;
    IopSendFileRequest(File, IRP_MJ_CLEANUP);
    IopSendFileRequest(File, IRP_MJ_CLOSE);
    InterlockedDecrement(&File->DeviceObject->ReferenceCount);
    ObDereferenceObject(File->DeviceObject);
}
