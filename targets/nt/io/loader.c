// Starting and stopping drivers. The work is done by a worker thread in System's context, whoever
// asks.
#include "io.h"

typedef struct _LOAD_PACKET {
    WORK_QUEUE_ITEM WorkQueueItem;
    KEVENT Event;
    PDRIVER_OBJECT DriverObject;   // to unload; NULL: load ServiceName
    UNICODE_STRING ServiceName;
    NTSTATUS FinalStatus;
} LOAD_PACKET, *PLOAD_PACKET;

static VOID IopLoadUnloadDriver(PVOID Parameter)
{
    PLOAD_PACKET Packet = Parameter;
    PDRIVER_OBJECT Driver = Packet->DriverObject;

    if (Driver == NULL) {
        Packet->FinalStatus = IopLoadDriver(&Packet->ServiceName);
    } else {
        Driver->DriverUnload(Driver);
        ObMakeTemporaryObject(Driver);
        ObDereferenceObject(Driver);        // the packet's reference
        ObDereferenceObject(Driver);        // its creator's: usually the last one
        Packet->FinalStatus = STATUS_SUCCESS;
    }
    KeSetEvent(&Packet->Event, IO_NO_INCREMENT, FALSE);
}

static NTSTATUS IopRunLoadPacket(PLOAD_PACKET Packet)
{
    KeInitializeEvent(&Packet->Event, NotificationEvent, FALSE);
    ExInitializeWorkItem(&Packet->WorkQueueItem, IopLoadUnloadDriver, Packet);
    ExQueueWorkItem(&Packet->WorkQueueItem, DelayedWorkQueue);
    KeWaitForSingleObject(&Packet->Event, UserRequest, KernelMode, FALSE, NULL);
    return Packet->FinalStatus;
}

static UNICODE_STRING IopLastComponent(PUNICODE_STRING Path)
{
    UNICODE_STRING Name = *Path;

    for (USHORT i = 0; i < Path->Length / sizeof(WCHAR); i++)
        if (Path->Buffer[i] == '\\') {
            Name.Buffer = Path->Buffer + i + 1;
            Name.Length = (USHORT)(Path->Length - (i + 1) * sizeof(WCHAR));
        }
    Name.MaximumLength = Name.Length;
    return Name;
}

NTSTATUS NtLoadDriver(PUNICODE_STRING DriverServiceName)
{
    LOAD_PACKET Packet = {0};

    Packet.ServiceName = IopLastComponent(DriverServiceName);
    return IopRunLoadPacket(&Packet);
}

NTSTATUS NtUnloadDriver(PUNICODE_STRING DriverServiceName)
{
    UNICODE_STRING Service = IopLastComponent(DriverServiceName), Name;
    LOAD_PACKET Packet = {0};
    WCHAR Buffer[64];
    PDRIVER_OBJECT Driver;
    NTSTATUS Status;

    RtlInitEmptyUnicodeString(&Name, Buffer, sizeof(Buffer));
    RtlAppendUnicodeToString(&Name, L"\\Driver\\");
    Status = RtlAppendUnicodeStringToString(&Name, &Service);
    if (NT_SUCCESS(Status))
        Status = ObReferenceObjectByName(&Name, OBJ_CASE_INSENSITIVE, NULL, 0, IoDriverObjectType,
                                         KernelMode, NULL, (PVOID *)&Driver);
    if (!NT_SUCCESS(Status))
        return Status;
    if (Driver->DriverUnload == NULL || (Driver->Flags & DRVO_UNLOAD_INVOKED) ||
        !IopCheckUnloadDriver(Driver)) {
        ObDereferenceObject(Driver);
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    Driver->Flags |= DRVO_UNLOAD_INVOKED;
    Packet.DriverObject = Driver;
    return IopRunLoadPacket(&Packet);
}
