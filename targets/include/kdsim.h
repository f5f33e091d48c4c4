// What the kernel and the simulated machine agree on: the service numbers behind `int 0x81` and the
// block the boot loader hands to KiSystemStartup. Both sides read these layouts from nt's PDB.
#pragma once
#include "nttypes.h"

typedef enum _KDSIM_SERVICE {
    ServiceSetClock = 1,
    ServiceQueryTime = 2,
    ServiceSendIpi = 3,
    ServiceStartProcessor = 4,
    ServicePower = 5,
    ServiceQueryImage = 6,
    ServiceMapImage = 7,
    ServiceReportException = 8,
} KDSIM_SERVICE;

// Filled by ServiceQueryImage.
typedef struct _KDSIM_IMAGE_INFO {
    ULONG SizeOfImage;
    ULONG TimeDateStamp;
    ULONG CheckSum;
    ULONG EntryRva;
} KDSIM_IMAGE_INFO;

// One processor's memory, prepared by the loader (all zeroed except Gdt and Tss contents).
typedef struct _KDSIM_PROCESSOR {
    KPCR *Pcr;               // page-aligned, sizeof(KPCR) rounded up to pages
    PVOID Gdt;               // Windows' selectors: 10 18 20 28 30 40(TSS) 50
    PVOID Idt;               // 4096 bytes for the kernel to fill; LIDT is the kernel's
    PVOID Tss;               // Rsp0 and Ist[1..4] already point at the stacks below
    PVOID KernelStack;       // top of a 24 KiB stack: the boot/idle thread's
    PVOID DoubleFaultStack;  // top, IST 1
    PVOID NmiStack;          // top, IST 3
    PVOID DpcStack;          // top
} KDSIM_PROCESSOR, *PKDSIM_PROCESSOR;

// A region of kernel address space the loader chose (seeded). Nothing in it is mapped yet,
// but every PML4 entry that covers it already has its page-directory-pointer table.
typedef struct _KDSIM_REGION {
    ULONG64 Base;
    ULONG64 Size;
} KDSIM_REGION;

// Who a process runs as.
typedef enum _KDSIM_ACCOUNT {
    AccountSystem = 0,
    AccountLocalService = 1,
    AccountNetworkService = 2,
    AccountWindowManager = 3,
    AccountUser = 4,
} KDSIM_ACCOUNT;

// A process that exists from boot on. Parent is an index into the array, -1 for System.
typedef struct _KDSIM_PROCESS {
    CHAR ImageName[16];
    LONG Parent;
    ULONG SessionId;
    ULONG Threads;
    ULONG BasePriority;
    ULONG Account;           // KDSIM_ACCOUNT
} KDSIM_PROCESS;

typedef enum _KDSIM_TASK_ACTION {
    TaskStartService = 1,    // load the driver and run DriverEntry
    TaskStopService = 2,     // run DriverUnload and unload the image
} KDSIM_TASK_ACTION;

// The service controller's schedule, ascending in time. Time counts from the end of boot.
typedef struct _KDSIM_TASK {
    ULONG64 Time100ns;
    ULONG Action;
    CHAR Driver[36];         // file name, for instance leaky.sys
} KDSIM_TASK;

#define KDSIM_MAX_PROCESSORS 32

typedef struct _KDSIM_LOADER_BLOCK {
    ULONG Version;           // 1
    ULONG NumberProcessors;
    LIST_ENTRY LoadOrderListHead;    // KLDR_DATA_TABLE_ENTRY by InLoadOrderLinks: nt, hal, boot drivers
    ULONG64 NumberOfPages;           // RAM is pages 0 .. NumberOfPages-1
    ULONG64 FirstFreePage;           // below it everything is in use
    ULONG64 PteBase;                 // start of the self-mapped page tables
    ULONG64 DirectoryTableBase;      // System's PML4, physical
    KDSIM_REGION PfnDatabase;
    KDSIM_REGION NonPagedPool;
    KDSIM_REGION PagedPool;
    KDSIM_REGION SystemPtes;
    KDSIM_REGION KernelStacks;
    KDSIM_REGION DriverImages;
    ULONG64 SystemTime;              // FILETIME at power-on
    ULONG64 Entropy[8];              // from the seed: heap key, LFH key, object cookie, pool quota cookie, KiWaitNever, KiWaitAlways, machine SID (6, 7) and user addresses (7)
    ULONG DebuggerEnabled;           // 1: KD is on
    ULONG BreakAtBoot;               // 1: stop when boot has finished
    ULONG VerifierLevel;             // Driver Verifier flags, 0 = off
    ULONG BuildLabLength;
    CHAR VerifierDrivers[256];       // blank-separated file names, or "*"
    CHAR BuildLab[128];              // "19041.1.amd64fre.vb_release.191206-1406"
    CHAR ComputerName[16];
    ULONG NumberProcesses;
    ULONG NumberTasks;
    KDSIM_PROCESS *Processes;
    KDSIM_TASK *Tasks;
    KDSIM_PROCESSOR Processors[KDSIM_MAX_PROCESSORS];
} KDSIM_LOADER_BLOCK, *PKDSIM_LOADER_BLOCK;
