// Processes: System, Idle and those the loader block asks for.
#include "pspuser.h"

#define TAG_PROCESS 'corP'
#define TAG_SESSION 'eSmM'
#define PROCESS_ALL_ACCESS 0x1FFFFF
#define SESSION_ALL_ACCESS 0xF0003
#define PROCESS_PRIORITY_CLASS_NORMAL 2

LIST_ENTRY PsActiveProcessHead = {&PsActiveProcessHead, &PsActiveProcessHead};
LIST_ENTRY PsLoadedModuleList = {&PsLoadedModuleList, &PsLoadedModuleList};
ERESOURCE PsLoadedModuleResource = {0};
PEPROCESS PsInitialSystemProcess = NULL;
PEPROCESS PsIdleProcess = NULL;
PVOID PsNtosImageBase = NULL;
POBJECT_TYPE PsProcessType = NULL;
POBJECT_TYPE PsThreadType = NULL;
PHANDLE_TABLE PspCidTable = NULL;           // process and thread ids; its entries hold the objects
LIST_ENTRY HandleTableListHead = {&HandleTableListHead, &HandleTableListHead};
PVOID PspLoadImageNotifyRoutine[64] = {0};
PVOID PspCreateProcessNotifyRoutine[64] = {0};
PVOID PspCreateThreadNotifyRoutine[64] = {0};

HANDLE PspCreateCid(PVOID Object)
{
    return ExCreateHandle(PspCidTable, Object, 0, 0);
}

// Ids come back into use as late as possible. The table is on no list: it is nobody's.
static BOOLEAN PspInitializeCidTable(VOID)
{
    PspCidTable = ExCreateHandleTable(NULL);
    if (PspCidTable == NULL)
        return FALSE;
    PspCidTable->StrictFIFO = 1;
    RemoveEntryList(&PspCidTable->HandleTableList);
    InitializeListHead(&PspCidTable->HandleTableList);
    return TRUE;
}

static VOID PspInitializeProcessLists(PEPROCESS Process)
{
    InitializeListHead(&Process->ThreadListHead);
    InitializeListHead(&Process->SessionProcessLinks);
    InitializeListHead(&Process->MmProcessLinks);
    InitializeListHead(&Process->JobLinks);
    InitializeListHead(&Process->TimerResolutionLink);
    InitializeListHead(&Process->SvmProcessDeviceListHead);
    InitializeListHead(&Process->VirtualTimerListHead);
    InitializeListHead(&Process->SharedCommitLinks);
}

static VOID PspSetImageName(PEPROCESS Process, PCSTR Name)
{
    for (ULONG i = 0; i < sizeof(Process->ImageFileName) - 1 && Name[i]; i++)
        Process->ImageFileName[i] = (UCHAR)Name[i];
}

// What !process shows as the image's full path.
static VOID PspSetAuditName(PEPROCESS Process, PCSTR Name)
{
    static const WCHAR Folder[] = L"\\Device\\HarddiskVolume3\\Windows\\System32\\";
    SIZE_T Length = sizeof(Folder) + strlen(Name) * sizeof(WCHAR);
    POBJECT_NAME_INFORMATION Info =
        ExAllocatePoolWithTag(PagedPool, sizeof(*Info) + Length, TAG_PROCESS);
    PWCHAR Text = (PWCHAR)(Info + 1);

    if (Info == NULL)
        return;
    Info->Name.Buffer = Text;
    Info->Name.MaximumLength = (USHORT)Length;
    Info->Name.Length = (USHORT)(Length - sizeof(WCHAR));
    memcpy(Text, Folder, sizeof(Folder) - sizeof(WCHAR));
    Text += ARRAYSIZE(Folder) - 1;
    while ((*Text++ = (UCHAR)*Name++) != 0)
        continue;
    Process->SeAuditProcessCreationInfo.ImageFileName = Info;
}

NTSTATUS PspCreateProcess(PCSTR ImageName, PEPROCESS Parent, ULONG64 DirectoryTableBase,
                          KPRIORITY BasePriority, PTOKEN Token, PEPROCESS *ProcessOut)
{
    PEPROCESS Process;
    NTSTATUS Status = ObCreateObject(KernelMode, PsProcessType, NULL, KernelMode, NULL,
                                     sizeof(EPROCESS), 0, 0, (PVOID *)&Process);

    if (!NT_SUCCESS(Status))
        return Status;
    memset(Process, 0, sizeof(*Process));
    KeInitializeProcess(&Process->Pcb, BasePriority, DirectoryTableBase);
    PspInitializeProcessLists(Process);
    PspSetImageName(Process, ImageName);
    Process->UniqueProcessId = PspCreateCid(Process);
    Process->InheritedFromUniqueProcessId = Parent ? Parent->UniqueProcessId : NULL;
    Process->OwnerProcessId = (ULONG64)Process->InheritedFromUniqueProcessId;
    ObReferenceObjectEx(Token, MAX_FAST_REFS);
    Process->Token.Value = (ULONG64)Token | MAX_FAST_REFS;
    PspChargeQuota(Process, PagedPool, FIELD_OFFSET(TOKEN, VariablePart) + Token->VariableLength);
    SeAssignSecurity(Process, Token);
    Process->PriorityClass = PROCESS_PRIORITY_CLASS_NORMAL;
    Process->ExitStatus = STATUS_PENDING;
    Process->HighestUserAddress = MmHighestUserAddress;
    Process->Vm.Instance.MinimumWorkingSetSize = 50;
    Process->Vm.Instance.MaximumWorkingSetSize = 345;
    Process->HasAddressSpace = 1;
    Process->ProcessInserted = 1;
    Process->SequenceNumber = (ULONG64)Process->UniqueProcessId / 4;
    Process->CreateInterruptTime = KeQueryInterruptTime();
    KeQuerySystemTimePrecise(&Process->CreateTime);
    InsertTailList(&PsActiveProcessHead, &Process->ActiveProcessLinks);
    *ProcessOut = Process;
    return ObInsertObject(Process, NULL, 0, 0, NULL, NULL);
}

VOID PspChargeQuota(PEPROCESS Process, POOL_TYPE Pool, SIZE_T Amount)
{
    ULONG64 Usage = Process->ProcessQuotaUsage[Pool & PagedPool] += Amount;

    if (Usage > Process->ProcessQuotaPeak[Pool & PagedPool])
        Process->ProcessQuotaPeak[Pool & PagedPool] = Usage;
}

VOID PspProcessDelete(PVOID Object)
{
    PEPROCESS Process = Object;

    ObDereferenceObjectEx(PspTokenOf(Process), MAX_FAST_REFS + 1);
    RemoveEntryList(&Process->ActiveProcessLinks);
    RemoveEntryList(&Process->Pcb.ProcessListEntry);
    ExDestroyHandle(PspCidTable, Process->UniqueProcessId);
}

static NTSTATUS PspCreateType(PCWSTR Name, ULONG BodySize, VOID (*Delete)(PVOID),
                              POBJECT_TYPE *Type)
{
    OBJECT_TYPE_INITIALIZER Initializer;
    UNICODE_STRING TypeName;

    memset(&Initializer, 0, sizeof(Initializer));
    RtlInitUnicodeString(&TypeName, Name);
    Initializer.Length = sizeof(Initializer);
    Initializer.SecurityRequired = 1;
    Initializer.ValidAccessMask = 0x1FFFFF;
    Initializer.InvalidAttributes = 0xB0;
    Initializer.PoolType = NonPagedPoolNx;
    Initializer.DefaultNonPagedPoolCharge = BodySize;
    Initializer.DeleteProcedure = (PVOID)Delete;
    return ObCreateObjectType(&TypeName, &Initializer, NULL, Type);
}

static VOID PspInitializeIdleProcess(VOID)
{
    PsIdleProcess = &KiInitialProcess;
    PspInitializeProcessLists(PsIdleProcess);
    PspSetImageName(PsIdleProcess, "Idle");
    KeQuerySystemTimePrecise(&PsIdleProcess->CreateTime);
    KiInitialThread.ThreadInserted = 1;
    InsertTailList(&PsIdleProcess->ThreadListHead, &KiInitialThread.ThreadListEntry);
    PsIdleProcess->ActiveThreads = PsIdleProcess->ActiveThreadsHighWatermark = 1;
}

// Another processor's idle thread: its stack is the one the loader prepared.
PETHREAD PspCreateIdleThread(ULONG Number)
{
    PETHREAD Thread;
    NTSTATUS Status = ObCreateObject(KernelMode, PsThreadType, NULL, KernelMode, NULL,
                                     sizeof(ETHREAD), 0, 0, (PVOID *)&Thread);

    if (!NT_SUCCESS(Status))
        KeBugCheckEx(0x31, (ULONG_PTR)Status, Number, 0, 0);     // PHASE0_INITIALIZATION_FAILED
    memset(Thread, 0, sizeof(*Thread));
    Thread->ThreadInserted = 1;
    InsertTailList(&PsIdleProcess->ThreadListHead, &Thread->ThreadListEntry);
    PsIdleProcess->ActiveThreadsHighWatermark = ++PsIdleProcess->ActiveThreads;
    ObInsertObject(Thread, NULL, 0, 0, NULL, NULL);
    return Thread;
}

BOOLEAN PsInitSystem(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    PETHREAD Thread;
    PTOKEN Token;

    if (!NT_SUCCESS(PspCreateType(L"Process", sizeof(EPROCESS), PspProcessDelete,
                                  &PsProcessType)) ||
        !NT_SUCCESS(PspCreateType(L"Thread", sizeof(ETHREAD), PspThreadDelete, &PsThreadType)) ||
        !PspInitializeCidTable())
        return FALSE;
    PspInitializeIdleProcess();
    if (!NT_SUCCESS(SeCreateAccountToken(AccountSystem, 0, &Token)) ||
        !NT_SUCCESS(PspCreateProcess("System", NULL, LoaderBlock->DirectoryTableBase, 8, Token,
                                     &PsInitialSystemProcess)))
        return FALSE;
    ObReferenceObjectEx(Token, MAX_FAST_REFS + 1);
    PsIdleProcess->Token = PsInitialSystemProcess->Token;
    PsInitialSystemProcess->SystemProcess = 1;
    PsInitialSystemProcess->ObjectTable = ObpKernelHandleTable;
    ObpKernelHandleTable->UniqueProcessId = (ULONG)(ULONG64)PsInitialSystemProcess->UniqueProcessId;
    ObpInsertHandle(ObpKernelHandleTable, PsInitialSystemProcess, 0, PROCESS_ALL_ACCESS);
    return NT_SUCCESS(PspCreateThread(PsInitialSystemProcess, PspSystemThreadStartup,
                                      Phase1Initialization, LoaderBlock, &Thread));
}

// \KernelObjects\SessionN stands for the session in the name space; System keeps a handle of it.
static VOID PspCreateSessionObject(PMM_SESSION_SPACE Session)
{
    CHAR Text[32];
    WCHAR Buffer[32];
    ANSI_STRING AnsiName;
    UNICODE_STRING Name;
    OBJECT_ATTRIBUTES Attributes;
    PVOID Object;

    RtlStringCbPrintfA(Text, sizeof(Text), "\\KernelObjects\\Session%u", Session->SessionId);
    RtlInitAnsiString(&AnsiName, Text);
    RtlInitEmptyUnicodeString(&Name, Buffer, sizeof(Buffer));
    RtlAnsiStringToUnicodeString(&Name, &AnsiName, FALSE);
    InitializeObjectAttributes(&Attributes, &Name, OBJ_PERMANENT);
    if (!NT_SUCCESS(ObCreateObject(KernelMode, MmSessionObjectType, &Attributes, KernelMode, NULL,
                                   sizeof(PVOID), 0, 0, &Object)))
        return;
    *(PMM_SESSION_SPACE *)Object = Session;
    if (NT_SUCCESS(ObInsertObject(Object, NULL, SESSION_ALL_ACCESS, 0, &Session->SessionObject,
                                  &Session->SessionObjectHandle)))
        ObDereferenceObject(Object);        // the handle and the name keep it
}

static PMM_SESSION_SPACE PspCreateSession(ULONG Id)
{
    PMM_SESSION_SPACE Session =
        ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Session), TAG_SESSION);

    if (Session == NULL)
        return NULL;
    memset(Session, 0, sizeof(*Session));
    Session->SessionId = Id;
    Session->u.Flags.Initialized = 1;
    Session->LocaleId = 0x409;
    InitializeListHead(&Session->ProcessList);
    PspCreateSessionObject(Session);
    return Session;
}

// The session that a process is in already, or a new one.
static PMM_SESSION_SPACE PspSession(ULONG Id)
{
    for (PLIST_ENTRY Link = PsActiveProcessHead.Flink; Link != &PsActiveProcessHead;
         Link = Link->Flink) {
        PEPROCESS Process = CONTAINING_RECORD(Link, EPROCESS, ActiveProcessLinks);

        if (Process->Session && Process->Session->SessionId == Id)
            return Process->Session;
    }
    return PspCreateSession(Id);
}

// Into the session, its user half, its objects and its threads.
static NTSTATUS PspFillBootProcess(PEPROCESS Process, KDSIM_PROCESS *Wanted, PTOKEN Token)
{
    PSP_USER_LAYOUT Layout;
    PPSP_USER_OBJECTS Objects = PspCreateUserObjects(Process, Token, Wanted->Threads);
    NTSTATUS Status = Objects ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
    KAPC_STATE ApcState;

    Process->Session = PspSession(Wanted->SessionId);
    if (Process->Session) {
        Process->ProcessInSession = 1;
        Process->Session->ReferenceCount++;
        InsertTailList(&Process->Session->ProcessList, &Process->SessionProcessLinks);
    }
    KeStackAttachProcess(&Process->Pcb, &ApcState);
    if (NT_SUCCESS(Status))
        Status = PspCreateUserHalf(Process, Wanted, &Layout);
    for (ULONG i = 0; i < Wanted->Threads && NT_SUCCESS(Status); i++)
        Status = PspCreateUserThread(Process, &Layout, Objects, i);
    KeUnstackDetachProcess(&ApcState);
    return Status;
}

static NTSTATUS PspCreateBootProcess(KDSIM_PROCESS *Wanted, PEPROCESS Parent, PEPROCESS *ProcessOut)
{
    ULONG64 DirectoryTableBase = MmCreateProcessAddressSpace();
    PEPROCESS Process;
    PTOKEN Token;
    NTSTATUS Status;

    if (DirectoryTableBase == 0)
        return STATUS_NO_MEMORY;
    Status = SeCreateAccountToken(Wanted->Account, Wanted->SessionId, &Token);
    if (NT_SUCCESS(Status))
        Status = PspCreateProcess(Wanted->ImageName, Parent, DirectoryTableBase,
                                  (KPRIORITY)Wanted->BasePriority, Token, &Process);
    if (!NT_SUCCESS(Status))
        return Status;
    *ProcessOut = Process;
    Process->ObjectTable = ExCreateHandleTable(Process);
    PspSetAuditName(Process, Wanted->ImageName);
    ObpInsertHandle(Parent->ObjectTable, Process, 0, PROCESS_ALL_ACCESS);
    return PspFillBootProcess(Process, Wanted, Token);
}

VOID PspCreateBootProcesses(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    SIZE_T Size = (LoaderBlock->NumberProcesses + 1) * sizeof(PEPROCESS);
    PEPROCESS *Created = ExAllocatePoolWithTag(PagedPool, Size, TAG_PROCESS);

    for (ULONG i = 0; Created && i < LoaderBlock->NumberProcesses; i++) {
        KDSIM_PROCESS *Wanted = &LoaderBlock->Processes[i];
        PEPROCESS Parent = Wanted->Parent < 0 ? PsInitialSystemProcess : Created[Wanted->Parent];
        NTSTATUS Status = PspCreateBootProcess(Wanted, Parent, &Created[i]);

        if (!NT_SUCCESS(Status))
            KeBugCheckEx(0x6F, (ULONG_PTR)Status, i, 0, 0);      // SESSION3_INITIALIZATION_FAILED
    }
    if (Created)
        ExFreePoolWithTag(Created, TAG_PROCESS);
}

PEPROCESS PsGetCurrentProcess(VOID)
{
    return (PEPROCESS)KeGetCurrentThread()->ApcState.Process;
}

HANDLE PsGetCurrentProcessId(VOID)
{
    return PsGetCurrentProcess()->UniqueProcessId;
}

NTSTATUS PsLookupProcessByProcessId(HANDLE ProcessId, PEPROCESS *Process)
{
    PHANDLE_TABLE_ENTRY Entry = ExMapHandleToPointer(PspCidTable, ProcessId);
    PEPROCESS Found;

    if (Entry == NULL)
        return STATUS_INVALID_PARAMETER;
    Found = ExHandleEntryObject(Entry);
    if (Found->Pcb.Header.Type == ProcessObject) {
        ObfReferenceObject(Found);
        *Process = Found;
    } else {
        Found = NULL;
    }
    ExUnlockHandleTableEntry(PspCidTable, Entry);
    return Found ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}
