// A driver with a bug. It answers requests once in a while; what it allocates for a request it
// forgets to free when the request's header turns out to be bad, and replies to urgent requests are
// never freed. What it leaks has the tag "Abc ".
#include "ntddk.h"

#define LEAKY_TAG ' cbA'           // "Abc "
#define LEAKY_SETUP_TAG 'pSkL'     // "LkSp": lives as long as the driver, and is freed at unload
#define LEAKY_RING_SLOTS 16
#define LEAKY_MAGIC 0x4C45414Bu
#define LEAKY_URGENT 1u
#define LEAKY_MS 10000             // 100 ns units in a millisecond

typedef struct _LEAKY_REQUEST {
    ULONG Magic;
    ULONG Sequence;
    ULONG Flags;
    ULONG PayloadLength;
} LEAKY_REQUEST, *PLEAKY_REQUEST;

typedef struct _LEAKY_CONTEXT {
    LIST_ENTRY Link;
    LEAKY_REQUEST Request;
    LARGE_INTEGER Received;
    UCHAR Payload[];
} LEAKY_CONTEXT, *PLEAKY_CONTEXT;

typedef struct _LEAKY_REPLY {
    ULONG Sequence;
    NTSTATUS Status;
    WCHAR Text[60];
} LEAKY_REPLY, *PLEAKY_REPLY;

typedef struct _LEAKY_EXTENSION {
    KEVENT StopEvent;
    PVOID WorkerThread;
    KSPIN_LOCK RingLock;
    PLEAKY_REQUEST Ring;
    UNICODE_STRING RegistryPath;
    ULONG Sequence;
    ULONG Random;
    ULONG Completed;
    ULONG Rejected;
} LEAKY_EXTENSION, *PLEAKY_EXTENSION;

DRIVER_INITIALIZE DriverEntry;

static UNICODE_STRING LeakyDeviceName = RTL_CONSTANT_STRING(L"\\Device\\Leaky");
static UNICODE_STRING LeakyLinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\Leaky");

static ULONG LeakyRandom(PLEAKY_EXTENSION Extension, ULONG Limit)
{
    Extension->Random = Extension->Random * 1664525 + 1013904223;
    return (Extension->Random >> 8) % Limit;
}

// What a device would hand over: one header in four is damaged, one request in eight is urgent.
static PLEAKY_REQUEST LeakyReceive(PLEAKY_EXTENSION Extension)
{
    PLEAKY_REQUEST Request;
    KIRQL Irql;

    KeAcquireSpinLock(&Extension->RingLock, &Irql);
    Request = &Extension->Ring[Extension->Sequence % LEAKY_RING_SLOTS];
    Request->Magic = LeakyRandom(Extension, 4) == 0 ? 0 : LEAKY_MAGIC;
    Request->Sequence = ++Extension->Sequence;
    Request->Flags = LeakyRandom(Extension, 8) == 0 ? LEAKY_URGENT : 0;
    Request->PayloadLength = 16 + LeakyRandom(Extension, 480);
    KeReleaseSpinLock(&Extension->RingLock, Irql);
    return Request;
}

static PLEAKY_CONTEXT LeakyAllocateContext(const LEAKY_REQUEST *Request)
{
    PLEAKY_CONTEXT Context = ExAllocatePoolWithTag(
        NonPagedPoolNx, sizeof(*Context) + Request->PayloadLength, LEAKY_TAG);

    if (Context == NULL)
        return NULL;
    RtlZeroMemory(Context, sizeof(*Context));
    Context->Request = *Request;
    KeQuerySystemTime(&Context->Received);
    return Context;
}

// The bug: a bad header makes this fail after the context has been allocated.
static NTSTATUS LeakyParseHeader(const LEAKY_REQUEST *Request, PLEAKY_CONTEXT *NewContext)
{
    PLEAKY_CONTEXT Context = LeakyAllocateContext(Request);

    if (Context == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    if (Context->Request.Magic != LEAKY_MAGIC)
        return STATUS_INVALID_PARAMETER;
    *NewContext = Context;
    return STATUS_SUCCESS;
}

// The other bug: an urgent reply is sent at once, and nobody frees it.
static NTSTATUS LeakySendReply(const LEAKY_CONTEXT *Context)
{
    PLEAKY_REPLY Reply = ExAllocatePoolWithTag(PagedPool, sizeof(*Reply), LEAKY_TAG);

    if (Reply == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(Reply, sizeof(*Reply));
    Reply->Sequence = Context->Request.Sequence;
    Reply->Status = STATUS_SUCCESS;
    if (!(Context->Request.Flags & LEAKY_URGENT))
        ExFreePoolWithTag(Reply, LEAKY_TAG);
    return STATUS_SUCCESS;
}

static VOID LeakyProcessRequest(PLEAKY_EXTENSION Extension)
{
    PLEAKY_REQUEST Request = LeakyReceive(Extension);
    PLEAKY_CONTEXT Context;

    if (!NT_SUCCESS(LeakyParseHeader(Request, &Context))) {
        Extension->Rejected++;
        return;
    }
    LeakySendReply(Context);
    ExFreePoolWithTag(Context, LEAKY_TAG);
    Extension->Completed++;
}

static VOID LeakyWorkerThread(PVOID StartContext)
{
    PLEAKY_EXTENSION Extension = StartContext;
    LARGE_INTEGER Timeout;

    do {
        LeakyProcessRequest(Extension);
        Timeout.QuadPart = -(LONGLONG)(100 + LeakyRandom(Extension, 400)) * LEAKY_MS;
    } while (KeWaitForSingleObject(&Extension->StopEvent, Executive, KernelMode, FALSE, &Timeout) ==
             STATUS_TIMEOUT);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static VOID LeakyFreeBuffers(PLEAKY_EXTENSION Extension)
{
    if (Extension->Ring)
        ExFreePoolWithTag(Extension->Ring, LEAKY_SETUP_TAG);
    if (Extension->RegistryPath.Buffer)
        ExFreePoolWithTag(Extension->RegistryPath.Buffer, LEAKY_SETUP_TAG);
}

static NTSTATUS LeakyAllocateBuffers(PLEAKY_EXTENSION Extension, PUNICODE_STRING RegistryPath)
{
    PUNICODE_STRING Copy = &Extension->RegistryPath;

    Extension->Ring = ExAllocatePoolWithTag(
        NonPagedPoolNx, LEAKY_RING_SLOTS * sizeof(LEAKY_REQUEST), LEAKY_SETUP_TAG);
    Copy->Buffer = ExAllocatePoolWithTag(PagedPool, RegistryPath->Length, LEAKY_SETUP_TAG);
    if (Extension->Ring == NULL || Copy->Buffer == NULL) {
        LeakyFreeBuffers(Extension);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Copy->MaximumLength = RegistryPath->Length;
    RtlCopyUnicodeString(Copy, RegistryPath);
    return STATUS_SUCCESS;
}

static NTSTATUS LeakyStartWorker(PLEAKY_EXTENSION Extension)
{
    HANDLE Thread;
    NTSTATUS Status = PsCreateSystemThread(&Thread, THREAD_ALL_ACCESS, NULL, NULL, NULL,
                                           LeakyWorkerThread, Extension);

    if (!NT_SUCCESS(Status))
        return Status;
    Status = ObReferenceObjectByHandle(Thread, THREAD_ALL_ACCESS, NULL, KernelMode,
                                       &Extension->WorkerThread, NULL);
    ZwClose(Thread);
    return Status;
}

static NTSTATUS LeakyDispatch(PDEVICE_OBJECT Device, PIRP Irp)
{
    UNREFERENCED_PARAMETER(Device);
    Irp->IoStatus.Status = STATUS_SUCCESS;
    Irp->IoStatus.Information = 0;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

static VOID LeakyUnload(PDRIVER_OBJECT Driver)
{
    PLEAKY_EXTENSION Extension = Driver->DeviceObject->DeviceExtension;

    KeSetEvent(&Extension->StopEvent, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(Extension->WorkerThread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(Extension->WorkerThread);
    LeakyFreeBuffers(Extension);
    IoDeleteSymbolicLink(&LeakyLinkName);
    IoDeleteDevice(Driver->DeviceObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    PDEVICE_OBJECT Device;
    PLEAKY_EXTENSION Extension;
    NTSTATUS Status;

    Status = IoCreateDevice(Driver, sizeof(*Extension), &LeakyDeviceName, FILE_DEVICE_UNKNOWN,
                            FILE_DEVICE_SECURE_OPEN, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    Extension = Device->DeviceExtension;
    KeInitializeEvent(&Extension->StopEvent, NotificationEvent, FALSE);
    KeInitializeSpinLock(&Extension->RingLock);
    Driver->MajorFunction[IRP_MJ_CREATE] = LeakyDispatch;
    Driver->MajorFunction[IRP_MJ_CLOSE] = LeakyDispatch;
    Driver->DriverUnload = LeakyUnload;
    Status = LeakyAllocateBuffers(Extension, RegistryPath);
    if (!NT_SUCCESS(Status))
        goto DeleteDevice;
    Status = IoCreateSymbolicLink(&LeakyLinkName, &LeakyDeviceName);
    if (!NT_SUCCESS(Status))
        goto FreeBuffers;
    Status = LeakyStartWorker(Extension);
    if (NT_SUCCESS(Status))
        return Status;
    IoDeleteSymbolicLink(&LeakyLinkName);
FreeBuffers:
    LeakyFreeBuffers(Extension);
DeleteDevice:
    IoDeleteDevice(Device);
    return Status;
}
