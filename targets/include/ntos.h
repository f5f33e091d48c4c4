// What the kernel's own components share. A declaration stands under the component that defines it.
#pragma once
#define _NTOSKRNL_
#include "ntddk.h"
#include "kdsim.h"

#define MAXIMUM_PROCESSORS KDSIM_MAX_PROCESSORS
#define KERNEL_STACK_SIZE 0x6000
#define KERNEL_STACK_CONTROL_LENGTH 0x50
#define CLOCK_INCREMENT 156250            // 15.625 ms in 100 ns units
#define KGDT64_NULL 0x00
#define KGDT64_R0_CODE 0x10
#define KGDT64_R0_DATA 0x18
#define KGDT64_R3_CMCODE 0x20
#define KGDT64_R3_DATA 0x28
#define KGDT64_R3_CODE 0x30
#define KGDT64_SYS_TSS 0x40
#define KGDT64_R3_CMTEB 0x50
#define CLOCK_VECTOR 0xD1
#define IPI_VECTOR 0xE1

// Types the layout table lacks.
typedef struct _KSWITCH_FRAME {           // where KTHREAD.KernelStack of a thread that waits points
    ULONG64 P1Home;
    ULONG64 P2Home;
    ULONG64 P3Home;
    ULONG64 P4Home;
    ULONG64 P5Home;
    ULONG MxCsr;
    UCHAR ApcBypass;
    UCHAR Fill1[3];
    ULONG64 Rbp;
    ULONG64 Return;
} KSWITCH_FRAME, *PKSWITCH_FRAME;
typedef struct _KSTART_FRAME {            // top of a new thread's stack
    ULONG64 P1Home;
    ULONG64 P2Home;
    ULONG64 P3Home;
    ULONG64 P4Home;
    ULONG64 Return;
} KSTART_FRAME, *PKSTART_FRAME;
typedef struct _KD_SYMBOLS_INFO {
    PVOID BaseOfDll;
    PVOID ProcessId;
    ULONG CheckSum;
    ULONG SizeOfImage;
} KD_SYMBOLS_INFO, *PKD_SYMBOLS_INFO;
typedef struct _BREAKPOINT_ENTRY {
    ULONG64 Address;
    ULONG64 DirectoryTableBase;
    ULONG Flags;                          // bit 0: in use
    UCHAR Content;                        // the byte under the int 3
    UCHAR Fill[3];
    ULONG64 Spare;
} BREAKPOINT_ENTRY, *PBREAKPOINT_ENTRY;
typedef struct _UNLOADED_DRIVERS {
    UNICODE_STRING Name;
    PVOID StartAddress;
    PVOID EndAddress;
    LARGE_INTEGER CurrentTime;
} UNLOADED_DRIVERS, *PUNLOADED_DRIVERS;
#define MI_UNLOADED_DRIVERS 50
typedef struct _KSERVICE_TABLE_DESCRIPTOR {
    PVOID Base;
    PULONG Count;
    ULONG Limit;
    PUCHAR Number;
} KSERVICE_TABLE_DESCRIPTOR, *PKSERVICE_TABLE_DESCRIPTOR;
typedef struct _FAST_IO_DISPATCH {        // wdm.h
    ULONG SizeOfFastIoDispatch;
    PVOID FastIoCheckIfPossible;
    PVOID FastIoRead;
    PVOID FastIoWrite;
    PVOID FastIoQueryBasicInfo;
    PVOID FastIoQueryStandardInfo;
    PVOID FastIoLock;
    PVOID FastIoUnlockSingle;
    PVOID FastIoUnlockAll;
    PVOID FastIoUnlockAllByKey;
    PVOID FastIoDeviceControl;
    PVOID AcquireFileForNtCreateSection;
    PVOID ReleaseFileForNtCreateSection;
    PVOID FastIoDetachDevice;
    PVOID FastIoQueryNetworkOpenInfo;
    PVOID AcquireForModWrite;
    PVOID MdlRead;
    PVOID MdlReadComplete;
    PVOID PrepareMdlWrite;
    PVOID MdlWriteComplete;
    PVOID FastIoReadCompressed;
    PVOID FastIoWriteCompressed;
    PVOID MdlReadCompleteCompressed;
    PVOID MdlWriteCompleteCompressed;
    PVOID FastIoQueryOpen;
    PVOID ReleaseForModWrite;
    PVOID AcquireForCcFlush;
    PVOID ReleaseForCcFlush;
} FAST_IO_DISPATCH;
typedef struct _EXCEPTION_POINTERS {
    PEXCEPTION_RECORD ExceptionRecord;
    PCONTEXT ContextRecord;
} EXCEPTION_POINTERS, *PEXCEPTION_POINTERS;

// processor access

FORCEINLINE ULONG64 __readcr8(VOID)
{
    ULONG64 v;
    __asm__ volatile("mov %%cr8, %0" : "=r"(v));
    return v;
}
FORCEINLINE VOID __writecr8(ULONG64 v) { __asm__ volatile("mov %0, %%cr8" ::"r"(v) : "memory"); }
FORCEINLINE ULONG64 __readcr3(VOID)
{
    ULONG64 v;
    __asm__ volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}
FORCEINLINE VOID __writecr3(ULONG64 v) { __asm__ volatile("mov %0, %%cr3" ::"r"(v) : "memory"); }
FORCEINLINE VOID __invlpg(PVOID va) { __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory"); }
FORCEINLINE VOID _disable(VOID) { __asm__ volatile("cli" ::: "memory"); }
FORCEINLINE VOID _enable(VOID) { __asm__ volatile("sti" ::: "memory"); }
FORCEINLINE VOID YieldProcessor(VOID) { __asm__ volatile("pause" ::: "memory"); }
FORCEINLINE ULONG64 __readmsr(ULONG msr)
{
    ULONG lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return ((ULONG64)hi << 32) | lo;
}
FORCEINLINE VOID __writemsr(ULONG msr, ULONG64 v)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((ULONG)v), "d"((ULONG)(v >> 32)) : "memory");
}
FORCEINLINE PKPRCB KeGetCurrentPrcb(VOID)
{
    PKPRCB prcb;
    __asm__ volatile("movq %%gs:0x20, %0" : "=r"(prcb));
    return prcb;
}

// hal: the machine's services (kdsim.h), by `int 0x81`
ULONG64 HalpMachineCall(ULONG Service, ULONG64 A1, ULONG64 A2, ULONG64 A3, ULONG64 A4);
ULONG64 HalpQueryTime(VOID);              // 100 ns since power-on

// init
extern PKDSIM_LOADER_BLOCK KeLoaderBlock;
NTKERNELDATA ULONG NtBuildNumber;
extern CHAR NtBuildLab[];
extern CHAR NtBuildLabEx[];
NTKERNELDATA ULONG NtGlobalFlag;
extern ULONG CmNtCSDVersion;
DECLSPEC_NORETURN VOID KiSystemStartup(PKDSIM_LOADER_BLOCK LoaderBlock);
VOID Phase1Initialization(PVOID Context);

// ke
NTKERNELDATA ULONG KeNumberProcessors;
extern KAFFINITY_EX KeActiveProcessors;
extern PKPRCB KiProcessorBlock[];
extern ULONG KeTimeIncrement;
extern ULONG KeMaximumIncrement;
extern LIST_ENTRY KiProcessListHead;
extern EPROCESS KiInitialProcess;
extern ETHREAD KiInitialThread;
extern ULONG64 KiWaitNever;
extern ULONG64 KiWaitAlways;
extern ULONG_PTR KiBugCheckData[5];
extern PVOID KiBugCheckDriver;
extern ULONG KiBugCheckActive;
extern LIST_ENTRY KeBugCheckCallbackListHead;
extern LIST_ENTRY KeBugCheckReasonCallbackListHead;
VOID KeInitializeProcess(PKPROCESS Process, KPRIORITY BasePriority, ULONG64 DirectoryTableBase);
VOID KeInitializeThread(PKTHREAD Thread, PVOID StackBase,
                        VOID (*SystemRoutine)(PKSTART_ROUTINE, PVOID), PKSTART_ROUTINE Start,
                        PVOID Context, PKPROCESS Process);
VOID KeStartThread(PKTHREAD Thread);
VOID KeInitializeQueue(PKQUEUE Queue, ULONG Count);         // 0: as many as processors
VOID KeInitializePriQueue(PKPRIQUEUE Queue, ULONG MaximumCount);
VOID KeInsertPriQueue(PKPRIQUEUE Queue, PLIST_ENTRY Entry, KPRIORITY Priority);
PLIST_ENTRY KeRemovePriQueue(PKPRIQUEUE Queue, KPROCESSOR_MODE Mode);
VOID KeStackAttachProcess(PKPROCESS Process, PKAPC_STATE ApcState);
VOID KeUnstackDetachProcess(PKAPC_STATE ApcState);
DECLSPEC_NORETURN VOID KeTerminateThread(KPRIORITY Increment);
ULONG64 KeUpdateSystemTime(VOID);          // KUSER_SHARED_DATA now; returns the interrupt time
VOID KeFlushTb(PVOID VirtualAddress, SIZE_T Pages);   // on every processor
ULONG KeGetCurrentProcessorNumber(VOID);
VOID KeBalanceSetManager(PVOID Context);

// mm: system address space
#define MM_NOACCESS 0
#define MM_READONLY 1
#define MM_EXECUTE 2
#define MM_EXECUTE_READ 3
#define MM_READWRITE 4
#define MM_EXECUTE_READWRITE 6
extern PMMPFN MmPfnDatabase;
extern ULONG64 MmPteBase;
extern MI_SYSTEM_INFORMATION MiState;
extern MI_PARTITION MiSystemPartition;
NTKERNELDATA PVOID MmSystemRangeStart;
NTKERNELDATA PVOID MmHighestUserAddress;
NTKERNELDATA ULONG64 MmUserProbeAddress;
extern PPHYSICAL_MEMORY_DESCRIPTOR MmPhysicalMemoryBlock;
extern PUNLOADED_DRIVERS MmUnloadedDrivers;
extern ULONG MmLastUnloadedDriver;
PUNICODE_STRING MmLocateUnloadedDriver(PVOID Address);
extern ULONG MmSpecialPoolTag;
extern ULONG64 MmSizeOfPagedPoolInBytes;
VOID MmInitSystem(PKDSIM_LOADER_BLOCK LoaderBlock);
PMMPTE MiGetPteAddress(PVOID VirtualAddress);
NTSTATUS MiCommitSystemPages(PVOID VirtualAddress, SIZE_T Pages, ULONG Protection);  // zeroed
VOID MiDecommitSystemPages(PVOID VirtualAddress, SIZE_T Pages);
NTSTATUS MmSetPageProtection(PVOID VirtualAddress, SIZE_T Bytes, ULONG Protection);
PVOID MmCreateKernelStack(VOID);          // returns the base (highest address)
VOID MmDeleteKernelStack(PVOID StackBase);
ULONG64 MmCreateProcessAddressSpace(VOID);    // the directory table base, 0 when out of memory

// mm: a process's half. The caller is attached to the process.
NTSTATUS MmReserveUserPages(PEPROCESS Process, PVOID Base, SIZE_T Pages, ULONG Protection);
NTSTATUS MmCommitUserPages(PEPROCESS Process, PVOID VirtualAddress, SIZE_T Pages,
                           ULONG Protection);      // zeroed
NTSTATUS MmMapSharedUserData(PEPROCESS Process);

NTSTATUS MmLoadSystemImage(PCUNICODE_STRING FileName, PKLDR_DATA_TABLE_ENTRY *Entry);
NTSTATUS MmUnloadSystemImage(PKLDR_DATA_TABLE_ENTRY Entry);
PKLDR_DATA_TABLE_ENTRY MiLookupDataTableEntry(PVOID Address);

// ps
extern LIST_ENTRY PsLoadedModuleList;
extern ERESOURCE PsLoadedModuleResource;
extern LIST_ENTRY PsActiveProcessHead;
NTKERNELDATA PEPROCESS PsInitialSystemProcess;
extern PEPROCESS PsIdleProcess;
NTKERNELDATA POBJECT_TYPE PsProcessType;
NTKERNELDATA POBJECT_TYPE PsThreadType;
extern PVOID PsNtosImageBase;
extern PHANDLE_TABLE PspCidTable;
BOOLEAN PsInitSystem(PKDSIM_LOADER_BLOCK LoaderBlock);      // phase 0: types, System, Idle
VOID PspCreateBootProcesses(PKDSIM_LOADER_BLOCK LoaderBlock);   // phase 1: lab processes
VOID PspStartSystemThreads(VOID);
DECLSPEC_NORETURN VOID KiStartSystemThread(VOID);
NTSTATUS PspCreateBoundSystemThread(PHANDLE Handle, ULONG Processor, PKSTART_ROUTINE Start,
                                    PVOID Context);
VOID PspSystemThreadStartup(PKSTART_ROUTINE Start, PVOID Context);   // does not return
NTSTATUS PsLookupProcessByProcessId(HANDLE ProcessId, PEPROCESS *Process);

// kd
extern BOOLEAN KdDebuggerEnabled;
extern BOOLEAN KdDebuggerNotPresent;
extern BOOLEAN KdPitchDebugger;
extern UCHAR KdpBreakInRequested;
extern DBGKD_GET_VERSION64 KdVersionBlock;
extern KDDEBUGGER_DATA64 KdDebuggerDataBlock;
VOID KdInitSystem(PKDSIM_LOADER_BLOCK LoaderBlock);
VOID KdCheckForDebugBreak(VOID);
BOOLEAN KdPollBreakIn(VOID);
VOID DbgLoadImageSymbols(PSTRING FileName, PVOID ImageBase, ULONG_PTR ProcessId);
VOID DbgUnLoadImageSymbols(PSTRING FileName, PVOID ImageBase, ULONG_PTR ProcessId);
BOOLEAN KdRefreshDebuggerNotPresent(VOID);
BOOLEAN KdTrap(PKTRAP_FRAME TrapFrame, PKEXCEPTION_FRAME ExceptionFrame, PEXCEPTION_RECORD Record,
               PCONTEXT Context, KPROCESSOR_MODE Mode, BOOLEAN SecondChance);
ULONG DebugPrint(PSTRING Output, ULONG ComponentId, ULONG Level);

// ex (pool.c and others): the other half of the kernel
VOID ExInitPoolPhase0(PKDSIM_LOADER_BLOCK LoaderBlock);
VOID ExpWorkerInitialization(VOID);      // phase 1: worker threads
extern ULONG PoolHitTag;
extern PPOOL_TRACKER_TABLE PoolTrackTable;
extern LIST_ENTRY ExpSystemResourcesList;

// ob
BOOLEAN ObInitSystem(VOID);
NTSTATUS ObCreateObjectType(PUNICODE_STRING Name, POBJECT_TYPE_INITIALIZER Initializer,
                            PVOID SecurityDescriptor, POBJECT_TYPE *Type);
NTSTATUS ObCreateObject(KPROCESSOR_MODE ProbeMode, POBJECT_TYPE Type, POBJECT_ATTRIBUTES Attributes,
                        KPROCESSOR_MODE OwnershipMode, PVOID ParseContext, ULONG BodySize,
                        ULONG PagedCharge, ULONG NonPagedCharge, PVOID *Object);
NTSTATUS ObInsertObject(PVOID Object, PVOID AccessState, ACCESS_MASK Access, ULONG Bias,
                        PVOID *NewObject, PHANDLE Handle);
extern POBJECT_DIRECTORY ObpRootDirectoryObject;
extern POBJECT_TYPE ObpTypeObjectType;

// se
BOOLEAN SeInitSystem(VOID);               // phase 0: the token type

// io
BOOLEAN IoInitSystem(PKDSIM_LOADER_BLOCK LoaderBlock);      // types, root, boot drivers
VOID LabsvcSchedule(PVOID LoaderBlock);   // a system thread's start routine: the lab's task schedule
extern LIST_ENTRY IopErrorLogListHead;
extern PVOID IopTriageDumpDataBlocks[];
extern ULONG IopNumTriageDumpDataBlocks;

// vf
VOID VfInitSystem(PKDSIM_LOADER_BLOCK LoaderBlock);
VOID VfDriverLoadImage(PKLDR_DATA_TABLE_ENTRY Entry);       // after imports are bound
VOID VfDriverUnloadImage(PKLDR_DATA_TABLE_ENTRY Entry);     // after DriverUnload returned
extern MM_DRIVER_VERIFIER_DATA MmVerifierData;
extern ULONG KernelVerifier;

// rtl
int _vsnprintf(char *Buffer, SIZE_T Count, const char *Format, va_list Arguments);
int _stricmp(const char *A, const char *B);
