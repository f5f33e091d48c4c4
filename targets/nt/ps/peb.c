// Process and thread environment blocks, the loader's module lists, the process parameters.
#include "pspuser.h"

#define ENVIRONMENT_SPACE 0x200000ULL
#define HEAP_SPACE 0x100000ULL
#define HEAP_PAGES 3                        // committed: the parameters and the loader's entries
#define PSP_MAXIMUM_HEAPS 16
#define HEAP_FIRST_BLOCK 0x740
#define RTL_USER_PROC_PARAMS_NORMALIZED 1
#define PLATFORM_WIN32_NT 2
#define SUBSYSTEM_NATIVE 1
#define SUBSYSTEM_WINDOWS_GUI 2
#define LDRP_FLAGS 0x22CC                   // image DLL, in the lists and indexes, attach called

static const CHAR *const PspDllNames[] = {"ntdll.dll", "KERNEL32.DLL", "KERNELBASE.dll"};

// Memory of the heap, handed out upwards.
typedef struct _PSP_CURSOR {
    PUCHAR Next;
} PSP_CURSOR, *PPSP_CURSOR;

static PVOID PspTake(PPSP_CURSOR Cursor, SIZE_T Size)
{
    PVOID Block = Cursor->Next;

    Cursor->Next += (Size + 15) & ~15ULL;
    return Block;
}

static VOID PspPutText(PPSP_CURSOR Cursor, PUNICODE_STRING String, PCSTR Format, PCSTR Argument)
{
    CHAR Text[128];
    USHORT Length = 0;
    PWCHAR Buffer = (PWCHAR)Cursor->Next;

    RtlStringCbPrintfA(Text, sizeof(Text), Format, Argument);
    for (; Text[Length]; Length++)
        Buffer[Length] = (UCHAR)Text[Length];
    Buffer[Length] = 0;
    String->Buffer = PspTake(Cursor, (Length + 1) * sizeof(WCHAR));
    String->Length = Length * sizeof(WCHAR);
    String->MaximumLength = String->Length + sizeof(WCHAR);
}

// Every program lies in System32 but the shell, which lies above it.
static PCSTR PspImageFolder(PCSTR Name)
{
    return _stricmp(Name, "explorer.exe") == 0 ? "C:\\Windows\\%s" : "C:\\Windows\\System32\\%s";
}

// Strings one after the other; an empty one ends them.
static VOID PspPutEnvironment(PPSP_CURSOR Cursor, PRTL_USER_PROCESS_PARAMETERS Parameters,
                              ULONG Account)
{
    const PCSTR Variables[][2] = {
        {"ALLUSERSPROFILE=C:\\ProgramData", NULL},
        {"COMPUTERNAME=%s", KeLoaderBlock->ComputerName},
        {"ComSpec=C:\\Windows\\system32\\cmd.exe", NULL},
        {"OS=Windows_NT", NULL},
        {"Path=C:\\Windows\\system32;C:\\Windows", NULL},
        {"PROCESSOR_ARCHITECTURE=AMD64", NULL},
        {"SystemDrive=C:", NULL},
        {"SystemRoot=C:\\Windows", NULL},
        {"TEMP=C:\\Windows\\TEMP", NULL},
        {"USERNAME=%s", Account == AccountUser ? "student" : "SYSTEM"},
        {"windir=C:\\Windows", NULL},
    };
    PSP_CURSOR At = *Cursor;
    UNICODE_STRING Line;

    Parameters->Environment = At.Next;
    for (ULONG i = 0; i < ARRAYSIZE(Variables); i++) {
        PspPutText(&At, &Line, Variables[i][0], Variables[i][1]);
        At.Next = (PUCHAR)Line.Buffer + Line.MaximumLength;
    }
    Parameters->EnvironmentSize = (ULONG64)At.Next + sizeof(WCHAR) - (ULONG64)Cursor->Next;
    PspTake(Cursor, Parameters->EnvironmentSize);
}

static PRTL_USER_PROCESS_PARAMETERS PspPutParameters(PPSP_CURSOR Cursor, KDSIM_PROCESS *Wanted)
{
    PRTL_USER_PROCESS_PARAMETERS Parameters = PspTake(Cursor, sizeof(*Parameters));
    PCSTR Path = PspImageFolder(Wanted->ImageName);

    Parameters->Flags = RTL_USER_PROC_PARAMS_NORMALIZED;
    PspPutText(Cursor, &Parameters->CurrentDirectory.DosPath, "C:\\Windows\\system32\\", NULL);
    PspPutText(Cursor, &Parameters->ImagePathName, Path, Wanted->ImageName);
    PspPutText(Cursor, &Parameters->CommandLine, Path, Wanted->ImageName);
    PspPutText(Cursor, &Parameters->WindowTitle, Path, Wanted->ImageName);
    PspPutText(Cursor, &Parameters->DesktopInfo, "WinSta0\\Default", NULL);
    Parameters->Length = Parameters->MaximumLength = (ULONG)(Cursor->Next - (PUCHAR)Parameters);
    PspPutEnvironment(Cursor, Parameters, Wanted->Account);
    return Parameters;
}

static VOID PspPutModule(PPSP_CURSOR Cursor, PPEB_LDR_DATA Ldr, ULONG64 Base, PCSTR Name, BOOLEAN Dll)
{
    PLDR_DATA_TABLE_ENTRY Entry = PspTake(Cursor, sizeof(*Entry));
    PCSTR Folder = PspImageFolder(Name);
    SIZE_T FolderLength = strlen(Folder) - 2;           // without its %s

    Entry->DllBase = (PVOID)Base;
    Entry->EntryPoint = (PVOID)(Base + PSP_USER_IMAGE_ENTRY);
    Entry->SizeOfImage = PSP_USER_IMAGE_SIZE;
    Entry->OriginalBase = Base;
    Entry->TimeDateStamp = PspImageTimeDateStamp(Name);
    Entry->Flags = LDRP_FLAGS;
    Entry->ObsoleteLoadCount = 0xFFFF;
    Entry->ReferenceCount = 1;
    PspPutText(Cursor, &Entry->FullDllName, Folder, Name);
    Entry->BaseDllName.Buffer = Entry->FullDllName.Buffer + FolderLength;
    Entry->BaseDllName.Length = Entry->FullDllName.Length - (USHORT)(FolderLength * sizeof(WCHAR));
    Entry->BaseDllName.MaximumLength = Entry->BaseDllName.Length + sizeof(WCHAR);
    InsertTailList(&Ldr->InLoadOrderModuleList, &Entry->InLoadOrderLinks);
    InsertTailList(&Ldr->InMemoryOrderModuleList, &Entry->InMemoryOrderLinks);
    if (Dll)                                            // a program's own image is not initialised
        InsertTailList(&Ldr->InInitializationOrderModuleList, &Entry->InInitializationOrderLinks);
}

static NTSTATUS PspLoadUserModules(PEPROCESS Process, KDSIM_PROCESS *Wanted, PPSP_USER_LAYOUT Layout,
                                   PPSP_CURSOR Cursor)
{
    PPEB_LDR_DATA Ldr = (PPEB_LDR_DATA)(Layout->Ntdll + PSP_USER_IMAGE_DATA);
    BOOLEAN Native = Wanted->Parent < 0;                // the session manager has no subsystem yet
    ULONG Dlls = Native ? 1 : ARRAYSIZE(PspDllNames);
    NTSTATUS Status = PspMapUserImage(Process, Layout->Image, Wanted->ImageName, FALSE);

    for (ULONG i = 0; i < Dlls && NT_SUCCESS(Status); i++)
        Status = PspMapUserImage(Process, PspSystemDllBase(i), PspDllNames[i], TRUE);
    if (!NT_SUCCESS(Status))
        return Status;
    Layout->Peb->ProcessHeaps = (PVOID *)(Ldr + 1);
    Layout->Peb->ProcessHeaps[0] = (PVOID)Layout->Heap;
    Ldr->Length = sizeof(*Ldr);
    Ldr->Initialized = TRUE;
    InitializeListHead(&Ldr->InLoadOrderModuleList);
    InitializeListHead(&Ldr->InMemoryOrderModuleList);
    InitializeListHead(&Ldr->InInitializationOrderModuleList);
    PspPutModule(Cursor, Ldr, Layout->Image, Wanted->ImageName, FALSE);
    for (ULONG i = 0; i < Dlls; i++)
        PspPutModule(Cursor, Ldr, PspSystemDllBase(i), PspDllNames[i], TRUE);
    Layout->Peb->Ldr = Ldr;
    Layout->Peb->ImageSubsystem = Native ? SUBSYSTEM_NATIVE : SUBSYSTEM_WINDOWS_GUI;
    return STATUS_SUCCESS;
}

static VOID PspFillPeb(PPEB Peb, PPSP_USER_LAYOUT Layout, KDSIM_PROCESS *Wanted)
{
    Peb->Mutant = (PVOID)-1;
    Peb->ImageBaseAddress = (PVOID)Layout->Image;
    Peb->ProcessHeap = (PVOID)Layout->Heap;
    Peb->NumberOfHeaps = 1;
    Peb->MaximumNumberOfHeaps = PSP_MAXIMUM_HEAPS;
    Peb->NumberOfProcessors = KeNumberProcessors;
    Peb->NtGlobalFlag = NtGlobalFlag;
    Peb->CriticalSectionTimeout.QuadPart = -25920000000000LL;   // 30 days
    Peb->HeapSegmentReserve = 0x100000;
    Peb->HeapSegmentCommit = 0x2000;
    Peb->OSMajorVersion = SHARED_USER_DATA->NtMajorVersion;
    Peb->OSMinorVersion = SHARED_USER_DATA->NtMinorVersion;
    Peb->OSBuildNumber = (USHORT)SHARED_USER_DATA->NtBuildNumber;
    Peb->OSPlatformId = PLATFORM_WIN32_NT;
    Peb->ImageSubsystemMajorVersion = 10;
    Peb->ActiveProcessAffinityMask = KeActiveProcessors.Bitmap[0];
    Peb->SessionId = Wanted->SessionId;
}

static VOID PspChooseLayout(PEPROCESS Process, PPSP_USER_LAYOUT Layout)
{
    ULONG64 Id = (ULONG64)Process->UniqueProcessId << 8;

    Layout->Environment =
        PspDrawAddress(Id | 1, 0x1000000000, 0xFF00000000, ENVIRONMENT_SPACE * 2);
    Layout->Peb =
        (PPEB)(Layout->Environment + PspDrawAddress(Id | 2, 0x40000, 0x140000, PAGE_SIZE));
    Layout->Heap = PspDrawAddress(Id | 3, 0x10000000000, 0x2FF00000000, 0x10000);
    Layout->Image = PspDrawAddress(Id | 4, 0x7FF600000000, 0x7FF7FF000000, 0x10000);
    Layout->Ntdll = PspSystemDllBase(0);
}

NTSTATUS PspCreateUserHalf(PEPROCESS Process, KDSIM_PROCESS *Wanted, PPSP_USER_LAYOUT Layout)
{
    PSP_CURSOR Cursor;
    NTSTATUS Status;

    PspChooseLayout(Process, Layout);
    Status = MmMapSharedUserData(Process);
    if (NT_SUCCESS(Status))
        Status = MmReserveUserPages(Process, (PVOID)Layout->Environment,
                                    ENVIRONMENT_SPACE / PAGE_SIZE, MM_READWRITE);
    if (NT_SUCCESS(Status))
        Status = MmCommitUserPages(Process, Layout->Peb, 1, MM_READWRITE);
    if (NT_SUCCESS(Status))
        Status = MmReserveUserPages(Process, (PVOID)Layout->Heap, HEAP_SPACE / PAGE_SIZE,
                                    MM_READWRITE);
    if (NT_SUCCESS(Status))
        Status = MmCommitUserPages(Process, (PVOID)Layout->Heap, HEAP_PAGES, MM_READWRITE);
    if (!NT_SUCCESS(Status))
        return Status;
    Cursor.Next = (PUCHAR)Layout->Heap + HEAP_FIRST_BLOCK;
    PspFillPeb(Layout->Peb, Layout, Wanted);
    Layout->Peb->ProcessParameters = PspPutParameters(&Cursor, Wanted);
    Process->Peb = Layout->Peb;
    Process->SectionBaseAddress = (PVOID)Layout->Image;
    return PspLoadUserModules(Process, Wanted, Layout, &Cursor);
}

// The thread's stack and its TEB; NULL when out of memory.
PTEB PspCreateTeb(PEPROCESS Process, PPSP_USER_LAYOUT Layout, ULONG Index)
{
    PTEB Teb = (PTEB)((ULONG64)Layout->Peb + PAGE_SIZE + Index * 2 * PAGE_SIZE);
    ULONG64 Stack = Layout->Environment + ENVIRONMENT_SPACE + Index * PSP_STACK_RESERVE;
    PVOID Base = (PVOID)(Stack + PSP_STACK_RESERVE), Limit = (PUCHAR)Base - PAGE_SIZE;

    if (!NT_SUCCESS(MmCommitUserPages(Process, Teb, 2, MM_READWRITE)) ||
        !NT_SUCCESS(MmReserveUserPages(Process, (PVOID)Stack, PSP_STACK_RESERVE / PAGE_SIZE,
                                       MM_READWRITE)) ||
        !NT_SUCCESS(MmCommitUserPages(Process, Limit, 1, MM_READWRITE)))
        return NULL;
    Teb->NtTib.StackBase = Base;
    Teb->NtTib.StackLimit = Limit;
    Teb->NtTib.Version = 0x1E00;
    Teb->NtTib.Self = &Teb->NtTib;
    Teb->DeallocationStack = (PVOID)Stack;
    Teb->ProcessEnvironmentBlock = Layout->Peb;
    Teb->CurrentLocale = 0x409;
    Teb->StaticUnicodeString.Buffer = Teb->StaticUnicodeBuffer;
    Teb->StaticUnicodeString.MaximumLength = sizeof(Teb->StaticUnicodeBuffer);
    Teb->InitialThread = Index == 0;
    return Teb;
}
