// Device objects.
#include "io.h"

static KSPIN_LOCK IopDatabaseLock;

static VOID IopFillDeviceObject(PDEVICE_OBJECT Device, PDRIVER_OBJECT Driver, SIZE_T BodySize,
                                ULONG ExtensionSize, DEVICE_TYPE Type)
{
    PDEVOBJ_EXTENSION Extension;

    memset(Device, 0, BodySize);
    Extension = (PDEVOBJ_EXTENSION)((PUCHAR)Device + BodySize - sizeof(*Extension));
    Extension->Type = IO_TYPE_DEVICE_OBJECT_EXTENSION;
    Extension->DeviceObject = Device;
    Device->Type = IO_TYPE_DEVICE;
    Device->Size = (USHORT)(sizeof(*Device) + ExtensionSize);
    Device->DriverObject = Driver;
    Device->DeviceObjectExtension = Extension;
    Device->DeviceExtension = ExtensionSize == 0 ? NULL : Device + 1;
    Device->DeviceType = Type;
    Device->StackSize = 1;
    Device->Flags = DO_DEVICE_INITIALIZING;
    Device->DeviceQueue.Type = DeviceQueueObject;
    Device->DeviceQueue.Size = sizeof(Device->DeviceQueue);
    InitializeListHead(&Device->DeviceQueue.DeviceListHead);
    KeInitializeEvent(&Device->DeviceLock, SynchronizationEvent, TRUE);
}

static VOID IopInsertDevice(PDRIVER_OBJECT Driver, PDEVICE_OBJECT Device)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&IopDatabaseLock);

    Device->NextDevice = Driver->DeviceObject;
    Driver->DeviceObject = Device;
    KeReleaseSpinLock(&IopDatabaseLock, Irql);
}

static VOID IopRemoveDevice(PDRIVER_OBJECT Driver, PDEVICE_OBJECT Device)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&IopDatabaseLock);

    for (PDEVICE_OBJECT *Link = &Driver->DeviceObject; *Link != NULL; Link = &(*Link)->NextDevice)
        if (*Link == Device) {
            *Link = Device->NextDevice;
            break;
        }
    KeReleaseSpinLock(&IopDatabaseLock, Irql);
}

NTSTATUS IoCreateDevice(PDRIVER_OBJECT Driver, ULONG ExtensionSize, PUNICODE_STRING Name,
                        DEVICE_TYPE Type, ULONG Characteristics, BOOLEAN Exclusive,
                        PDEVICE_OBJECT *NewDevice)
{
    ULONG RoundedSize = (ExtensionSize + 15) & ~15u;
    SIZE_T BodySize = sizeof(DEVICE_OBJECT) + RoundedSize + sizeof(DEVOBJ_EXTENSION);
    OBJECT_ATTRIBUTES Attributes;
    PDEVICE_OBJECT Device;
    NTSTATUS Status;

    *NewDevice = NULL;
    InitializeObjectAttributes(&Attributes, Name,
                               OBJ_CASE_INSENSITIVE | (Name != NULL ? OBJ_PERMANENT : 0));
    Status = ObCreateObject(KernelMode, IoDeviceObjectType, &Attributes, KernelMode, NULL,
                            (ULONG)BodySize, 0, 0, (PVOID *)&Device);
    if (!NT_SUCCESS(Status))
        return Status;
    IopFillDeviceObject(Device, Driver, BodySize, ExtensionSize, Type);
    Device->Characteristics = Characteristics;
    Device->Flags |= (Exclusive ? DO_EXCLUSIVE : 0) | (Name != NULL ? DO_DEVICE_HAS_NAME : 0);
    ObReferenceObject(Driver);
    Status = ObInsertObject(Device, NULL, 0, 0, NULL, NULL);
    if (!NT_SUCCESS(Status))
        return Status;
    IopInsertDevice(Driver, Device);
    *NewDevice = Device;
    return STATUS_SUCCESS;
}

VOID IoDeleteDevice(PDEVICE_OBJECT Device)
{
    Device->DeviceObjectExtension->ExtensionFlags |= DOE_DELETE_PENDING;
    IopRemoveDevice(Device->DriverObject, Device);
    if (Device->Flags & DO_DEVICE_HAS_NAME)
        ObMakeTemporaryObject(Device);
    ObDereferenceObject(Device);
}

// A device keeps its driver.
VOID IopDeleteDevice(PVOID Object)
{
    PDEVICE_OBJECT Device = Object;

    if (Device->DriverObject != NULL)
        ObDereferenceObject(Device->DriverObject);
}

// DriverEntry has returned: its devices may be opened.
VOID IopReadyDeviceObjects(PDRIVER_OBJECT Driver)
{
    Driver->Flags |= DRVO_INITIALIZED;
    for (PDEVICE_OBJECT Device = Driver->DeviceObject; Device != NULL; Device = Device->NextDevice)
        Device->Flags &= ~DO_DEVICE_INITIALIZING;
}

// Marks the driver's devices; TRUE when none of them is in use.
BOOLEAN IopCheckUnloadDriver(PDRIVER_OBJECT Driver)
{
    BOOLEAN Unload = TRUE;

    for (PDEVICE_OBJECT Device = Driver->DeviceObject; Device != NULL;
         Device = Device->NextDevice) {
        Device->DeviceObjectExtension->ExtensionFlags |= DOE_UNLOAD_PENDING;
        if (Device->ReferenceCount != 0 || Device->AttachedDevice != NULL)
            Unload = FALSE;
    }
    return Unload;
}

// The top of the stack that Device belongs to.
PDEVICE_OBJECT IoGetAttachedDevice(PDEVICE_OBJECT Device)
{
    while (Device->AttachedDevice != NULL)
        Device = Device->AttachedDevice;
    return Device;
}

// Source becomes the top of Target's stack; what was the top is the answer.
PDEVICE_OBJECT IoAttachDeviceToDeviceStack(PDEVICE_OBJECT Source, PDEVICE_OBJECT Target)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&IopDatabaseLock);
    PDEVICE_OBJECT Top = IoGetAttachedDevice(Target);

    if (Top->Flags & DO_DEVICE_INITIALIZING ||
        Top->DeviceObjectExtension->ExtensionFlags & (DOE_UNLOAD_PENDING | DOE_DELETE_PENDING)) {
        KeReleaseSpinLock(&IopDatabaseLock, Irql);
        return NULL;
    }
    Top->AttachedDevice = Source;
    Source->DeviceObjectExtension->AttachedTo = Top;
    Source->StackSize = Top->StackSize + 1;
    Source->AlignmentRequirement = Top->AlignmentRequirement;
    KeReleaseSpinLock(&IopDatabaseLock, Irql);
    return Top;
}

VOID IoDetachDevice(PDEVICE_OBJECT Target)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&IopDatabaseLock);

    Target->AttachedDevice->DeviceObjectExtension->AttachedTo = NULL;
    Target->AttachedDevice = NULL;
    KeReleaseSpinLock(&IopDatabaseLock, Irql);
}

NTSTATUS IoCreateSymbolicLink(PUNICODE_STRING Link, PUNICODE_STRING Target)
{
    return ObpCreateSymbolicLink(Link, Target);
}

NTSTATUS IoDeleteSymbolicLink(PUNICODE_STRING Name)
{
    PVOID Link;
    NTSTATUS Status = ObReferenceObjectByName(Name, OBJ_CASE_INSENSITIVE | OBJ_OPENLINK, NULL, 0,
                                              ObpSymbolicLinkObjectType, KernelMode, NULL, &Link);

    if (!NT_SUCCESS(Status))
        return Status;
    ObMakeTemporaryObject(Link);
    ObDereferenceObject(Link);              // this routine's reference
    ObDereferenceObject(Link);              // the creator's
    return STATUS_SUCCESS;
}
