// Threads of user processes. They have no user code to run here: each waits in one of the ways in
// which such threads spend their lives, on objects that its process has handles of.
#include "pspuser.h"

#define TAG_USER_OBJECTS 'uOsP'
#define EVENT_ALL_ACCESS 0x1F0003
#define SEMAPHORE_ALL_ACCESS 0x1F0003
#define MUTANT_ALL_ACCESS 0x1F0001
#define IO_COMPLETION_ALL_ACCESS 0x1F0003
#define TOKEN_QUERY_ACCESS 0x20008
#define DIRECTORY_QUERY_TRAVERSE 3
#define ERROR_IO_PENDING 997
#define STATUS_PENDING_VALUE 0x103
#define HOUR (-36000000000LL)

typedef enum _PSP_USER_WAIT {
    WaitsForEvent,                          // and owns the mutant
    WaitsForAny,
    WaitsForMessage,
    WaitsForTime,
    WaitsForMutant,
    WaitsForWork,
    UserWaits,
} PSP_USER_WAIT;

typedef struct _PSP_USER_THREAD {
    PPSP_USER_OBJECTS Objects;
    PSP_USER_WAIT Wait;
} PSP_USER_THREAD;

static const PCWSTR PspWaitNames[UserWaits] = {
    [WaitsForEvent] = L"main", [WaitsForAny] = L"dispatcher", [WaitsForMessage] = L"rpc server",
    [WaitsForTime] = L"timer", [WaitsForMutant] = L"cache writer", [WaitsForWork] = L"pool worker",
};

struct _PSP_USER_OBJECTS {
    PKEVENT Event;
    PKSEMAPHORE Semaphore;
    PKMUTANT Mutant;
    PKQUEUE Completion;
    PSP_USER_THREAD Threads[1];
};

static PVOID PspCreateUserObject(PEPROCESS Process, PTOKEN Token, POBJECT_TYPE Type, ULONG Size,
                                 ACCESS_MASK Access)
{
    PVOID Object;

    if (!NT_SUCCESS(ObCreateObject(KernelMode, Type, NULL, KernelMode, NULL, Size, 0, 0, &Object)))
        return NULL;
    SeAssignSecurity(Object, Token);
    ObInsertObject(Object, NULL, 0, 0, NULL, NULL);
    ObpInsertHandle(Process->ObjectTable, Object, 0, Access);
    PspChargeQuota(Process, NonPagedPool, Size);
    ObDereferenceObject(Object);            // the handle keeps it
    return Object;
}

static VOID PspOpenDirectory(PEPROCESS Process, PCWSTR Path)
{
    UNICODE_STRING Name;
    PVOID Directory;

    RtlInitUnicodeString(&Name, Path);
    if (!NT_SUCCESS(ObReferenceObjectByName(&Name, 0, NULL, 0, ObpDirectoryObjectType, KernelMode,
                                            NULL, &Directory)))
        return;
    ObpInsertHandle(Process->ObjectTable, Directory, 0, DIRECTORY_QUERY_TRAVERSE);
    ObDereferenceObject(Directory);
}

PPSP_USER_OBJECTS PspCreateUserObjects(PEPROCESS Process, PTOKEN Token, ULONG Threads)
{
    SIZE_T Size = sizeof(PSP_USER_OBJECTS) + Threads * sizeof(PSP_USER_THREAD);
    PPSP_USER_OBJECTS Objects = ExAllocatePoolWithTag(NonPagedPoolNx, Size, TAG_USER_OBJECTS);

    if (Objects == NULL)
        return NULL;
    Objects->Event = PspCreateUserObject(Process, Token, ExEventObjectType, sizeof(KEVENT),
                                         EVENT_ALL_ACCESS);
    PspOpenDirectory(Process, L"\\KnownDlls");
    Objects->Semaphore = PspCreateUserObject(Process, Token, ExSemaphoreObjectType,
                                             sizeof(KSEMAPHORE), SEMAPHORE_ALL_ACCESS);
    Objects->Mutant = PspCreateUserObject(Process, Token, ExMutantObjectType, sizeof(KMUTANT),
                                          MUTANT_ALL_ACCESS);
    Objects->Completion = PspCreateUserObject(Process, Token, IoCompletionObjectType,
                                              sizeof(KQUEUE), IO_COMPLETION_ALL_ACCESS);
    PspOpenDirectory(Process, L"\\BaseNamedObjects");
    ObpInsertHandle(Process->ObjectTable, Token, 0, TOKEN_QUERY_ACCESS);
    if (!Objects->Event || !Objects->Semaphore || !Objects->Mutant || !Objects->Completion)
        return NULL;
    KeInitializeEvent(Objects->Event, SynchronizationEvent, FALSE);
    KeInitializeSemaphore(Objects->Semaphore, 0, 10);
    KeInitializeMutex(Objects->Mutant, 0);
    Objects->Mutant->ApcDisable = 0;        // a user's mutex does not keep APCs away
    KeInitializeQueue(Objects->Completion, 0);
    for (ULONG i = 0; i < Threads; i++) {
        Objects->Threads[i].Objects = Objects;
        Objects->Threads[i].Wait = i % UserWaits;
    }
    return Objects;
}

static VOID PspWaitForAny(PPSP_USER_OBJECTS Objects)
{
    PVOID Any[] = {Objects->Event, Objects->Semaphore};

    KeWaitForMultipleObjects(ARRAYSIZE(Any), Any, WaitAny, UserRequest, UserMode, TRUE, NULL, NULL);
}

static VOID PspUserThreadStartup(PKSTART_ROUTINE Start, PVOID Context)
{
    PSP_USER_THREAD *Self = Context;
    PPSP_USER_OBJECTS Objects = Self->Objects;
    PETHREAD Thread = (PETHREAD)KeGetCurrentThread();
    LARGE_INTEGER Hour = {.QuadPart = HOUR};

    for (;;)
        switch (Self->Wait) {
        case WaitsForAny:
            PspWaitForAny(Objects);
            break;
        case WaitsForMessage:
            KeWaitForSingleObject(&Thread->AlpcWaitSemaphore, WrLpcReceive, UserMode, FALSE, NULL);
            break;
        case WaitsForTime:
            KeDelayExecutionThread(UserMode, FALSE, &Hour);
            break;
        case WaitsForMutant:
            KeWaitForSingleObject(Objects->Mutant, UserRequest, UserMode, FALSE, NULL);
            break;
        case WaitsForWork:
            KeWaitForSingleObject(Objects->Completion, WrQueue, UserMode, FALSE, NULL);
            break;
        default:
            KeWaitForSingleObject(Objects->Mutant, UserRequest, UserMode, FALSE, NULL);
            KeWaitForSingleObject(Objects->Event, UserRequest, UserMode, FALSE, NULL);
        }
}

NTSTATUS PspCreateUserThread(PEPROCESS Process, PPSP_USER_LAYOUT Layout, PPSP_USER_OBJECTS Objects,
                             ULONG Index)
{
    PTEB Teb = PspCreateTeb(Process, Layout, Index);
    PSP_USER_THREAD *Context = &Objects->Threads[Index];
    PETHREAD Thread;
    NTSTATUS Status;

    if (Teb == NULL)
        return STATUS_NO_MEMORY;
    Status = PspAllocateThread(Process, PspUserThreadStartup,
                               (PKSTART_ROUTINE)(Layout->Ntdll + PSP_USER_IMAGE_ENTRY), Context,
                               &Thread);
    if (!NT_SUCCESS(Status))
        return Status;
    Thread->Win32StartAddress = (PVOID)(Layout->Image + PSP_USER_IMAGE_ENTRY);
    Thread->Tcb.Teb = Teb;
    PspNameThread(Thread, PspWaitNames[Context->Wait]);
    Teb->ClientId = Teb->RealClientId = Thread->Cid;
    Teb->LastErrorValue = Context->Wait == WaitsForWork ? ERROR_IO_PENDING : 0;
    Teb->LastStatusValue = Context->Wait == WaitsForWork ? STATUS_PENDING_VALUE : 0;
    PspInsertThread(Thread);
    return STATUS_SUCCESS;
}
