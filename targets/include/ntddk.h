// What a driver includes: the documented kernel interface, as far as this kernel has it.
#pragma once
#include "nttypes.h"

#ifdef _NTOSKRNL_
#define NTKERNELAPI __declspec(dllexport)
#define NTKERNELDATA extern __declspec(dllexport)
#else
#define NTKERNELAPI __declspec(dllimport)
#define NTKERNELDATA extern __declspec(dllimport)
#endif
#define NTAPI
#define FORCEINLINE static __inline__ __attribute__((always_inline))
#define DECLSPEC_NORETURN __declspec(noreturn)

#define TRUE 1
#define FALSE 0
#define NULL ((void *)0)
#define PAGE_SHIFT 12
#define PAGE_SIZE 0x1000
#define MAXULONG 0xFFFFFFFF
#define MAXULONG64 0xFFFFFFFFFFFFFFFFULL
#define CONTAINING_RECORD(address, type, field) \
    ((type *)((UCHAR *)(address) - __builtin_offsetof(type, field)))
#define FIELD_OFFSET(type, field) ((ULONG)__builtin_offsetof(type, field))
#define ARRAYSIZE(a) (sizeof(a) / sizeof((a)[0]))
#define UNREFERENCED_PARAMETER(p) ((void)(p))
#define BYTES_TO_PAGES(n) (((n) + PAGE_SIZE - 1) >> PAGE_SHIFT)
#define ROUND_TO_PAGES(n) (((ULONG64)(n) + PAGE_SIZE - 1) & ~(ULONG64)(PAGE_SIZE - 1))
#define PAGE_ALIGN(p) ((PVOID)((ULONG64)(p) & ~(ULONG64)(PAGE_SIZE - 1)))
#define BYTE_OFFSET(p) ((ULONG)((ULONG64)(p) & (PAGE_SIZE - 1)))
#define RTL_CONSTANT_STRING(s) { sizeof(s) - sizeof((s)[0]), sizeof(s), (PWCHAR)(s) }

typedef char CCHAR, KPROCESSOR_MODE;
typedef UCHAR *PBOOLEAN, *PKIRQL;
typedef ULONG64 *PULONG64, *PULONG_PTR, *PSIZE_T;
typedef ULONG64 KSPIN_LOCK, *PKSPIN_LOCK, KAFFINITY, PFN_NUMBER;
typedef LONG KPRIORITY;
typedef PVOID HANDLE, *PHANDLE;
typedef const CHAR *PCSTR;
typedef const WCHAR *PCWSTR;
typedef const UNICODE_STRING *PCUNICODE_STRING;
typedef ULONG ACCESS_MASK, DEVICE_TYPE;
typedef STRING ANSI_STRING, *PANSI_STRING;
typedef __builtin_va_list va_list;
#define va_start(list, last) __builtin_va_start(list, last)
#define va_arg(list, type) __builtin_va_arg(list, type)
#define va_end(list) __builtin_va_end(list)

typedef struct _SLIST_ENTRY {
    struct _SLIST_ENTRY *Next;
} __attribute__((aligned(16))) SLIST_ENTRY;
typedef struct _OBJECT_ATTRIBUTES {
    ULONG Length;
    HANDLE RootDirectory;
    PUNICODE_STRING ObjectName;
    ULONG Attributes;
    PVOID SecurityDescriptor;
    PVOID SecurityQualityOfService;
} OBJECT_ATTRIBUTES, *POBJECT_ATTRIBUTES;
typedef enum _EVENT_TYPE { NotificationEvent, SynchronizationEvent } EVENT_TYPE;
typedef enum _TIMER_TYPE { NotificationTimer, SynchronizationTimer } TIMER_TYPE;
typedef enum _WAIT_TYPE { WaitAll, WaitAny, WaitNotification, WaitDequeue } WAIT_TYPE;
typedef enum _LOCK_OPERATION { IoReadAccess, IoWriteAccess, IoModifyAccess } LOCK_OPERATION;
// The interrupt object of Windows 10: what a gate of the IDT leads to.
typedef enum _KINTERRUPT_MODE { LevelSensitive, Latched } KINTERRUPT_MODE;
typedef enum _KINTERRUPT_POLARITY {
    InterruptPolarityUnknown,
    InterruptActiveHigh,
    InterruptRisingEdge = InterruptActiveHigh,
    InterruptActiveLow,
    InterruptFallingEdge = InterruptActiveLow,
    InterruptActiveBoth,
    InterruptActiveBothTriggerLow = InterruptActiveBoth,
    InterruptActiveBothTriggerHigh,
} KINTERRUPT_POLARITY;
typedef struct _ISRDPCSTATS_SEQUENCE {
    ULONG SequenceNumber;
    ULONG64 IsrTime;
    ULONG64 IsrCount;
    ULONG64 DpcTime;
    ULONG64 DpcCount;
} ISRDPCSTATS_SEQUENCE;
typedef struct _ISRDPCSTATS {
    ULONG64 IsrTime;
    ULONG64 IsrTimeStart;
    ULONG64 IsrCount;
    ULONG64 DpcTime;
    ULONG64 DpcTimeStart;
    ULONG64 DpcCount;
    UCHAR IsrActive;
    UCHAR Reserved[7];
    ISRDPCSTATS_SEQUENCE DpcWatchdog;
} ISRDPCSTATS;
struct _KINTERRUPT;
typedef BOOLEAN KSERVICE_ROUTINE(struct _KINTERRUPT *Interrupt, PVOID ServiceContext);
typedef struct _KINTERRUPT {
    SHORT Type;
    SHORT Size;
    LIST_ENTRY InterruptListEntry;
    KSERVICE_ROUTINE *ServiceRoutine;
    PVOID MessageServiceRoutine;
    ULONG MessageIndex;
    PVOID ServiceContext;
    KSPIN_LOCK SpinLock;
    ULONG TickCount;
    PKSPIN_LOCK ActualLock;
    PVOID DispatchAddress;
    ULONG Vector;
    UCHAR Irql;
    UCHAR SynchronizeIrql;
    UCHAR FloatingSave;
    UCHAR Connected;
    ULONG Number;
    UCHAR ShareVector;
    UCHAR EmulateActiveBoth;
    USHORT ActiveCount;
    LONG InternalState;
    KINTERRUPT_MODE Mode;
    KINTERRUPT_POLARITY Polarity;
    ULONG ServiceCount;
    ULONG DispatchCount;
    PKEVENT PassiveEvent;
    PVOID TrapFrame;
    PVOID DisconnectData;
    PKTHREAD ServiceThread;
    PVOID ConnectionData;
    PVOID IntTrackEntry;
    ISRDPCSTATS IsrDpcStats;
    PVOID RedirectObject;
    PVOID PhysicalDeviceObject;
} KINTERRUPT, *PKINTERRUPT;
_Static_assert(sizeof(KINTERRUPT) == 0x120, "KINTERRUPT");
typedef enum _KDPC_IMPORTANCE {
    LowImportance,
    MediumImportance,
    HighImportance,
    MediumHighImportance,
} KDPC_IMPORTANCE;
typedef VOID KSTART_ROUTINE(PVOID StartContext), (*PKSTART_ROUTINE)(PVOID StartContext);
typedef KDEFERRED_ROUTINE *PKDEFERRED_ROUTINE;

#define NT_SUCCESS(s) ((NTSTATUS)(s) >= 0)
#define STATUS_SUCCESS ((NTSTATUS)0x00000000)
#define STATUS_WAIT_0 ((NTSTATUS)0x00000000)
#define STATUS_ABANDONED_WAIT_0 ((NTSTATUS)0x00000080)
#define STATUS_USER_APC ((NTSTATUS)0x000000C0)
#define STATUS_ALERTED ((NTSTATUS)0x00000101)
#define STATUS_TIMEOUT ((NTSTATUS)0x00000102)
#define STATUS_PENDING ((NTSTATUS)0x00000103)
#define STATUS_BREAKPOINT ((NTSTATUS)0x80000003)
#define STATUS_SINGLE_STEP ((NTSTATUS)0x80000004)
#define STATUS_ASSERTION_FAILURE ((NTSTATUS)0xC0000420)
#define STATUS_BUFFER_OVERFLOW ((NTSTATUS)0x80000005)
#define STATUS_NO_MORE_ENTRIES ((NTSTATUS)0x8000001A)
#define STATUS_UNSUCCESSFUL ((NTSTATUS)0xC0000001)
#define STATUS_NOT_IMPLEMENTED ((NTSTATUS)0xC0000002)
#define STATUS_INFO_LENGTH_MISMATCH ((NTSTATUS)0xC0000004)
#define STATUS_ACCESS_VIOLATION ((NTSTATUS)0xC0000005)
#define STATUS_INVALID_HANDLE ((NTSTATUS)0xC0000008)
#define STATUS_INVALID_PARAMETER ((NTSTATUS)0xC000000D)
#define STATUS_NO_SUCH_DEVICE ((NTSTATUS)0xC000000E)
#define STATUS_NO_SUCH_FILE ((NTSTATUS)0xC000000F)
#define STATUS_INVALID_DEVICE_REQUEST ((NTSTATUS)0xC0000010)
#define STATUS_NO_MEMORY ((NTSTATUS)0xC0000017)
#define STATUS_ILLEGAL_INSTRUCTION ((NTSTATUS)0xC000001D)
#define STATUS_ACCESS_DENIED ((NTSTATUS)0xC0000022)
#define STATUS_BUFFER_TOO_SMALL ((NTSTATUS)0xC0000023)
#define STATUS_OBJECT_TYPE_MISMATCH ((NTSTATUS)0xC0000024)
#define STATUS_OBJECT_NAME_INVALID ((NTSTATUS)0xC0000033)
#define STATUS_OBJECT_NAME_NOT_FOUND ((NTSTATUS)0xC0000034)
#define STATUS_OBJECT_NAME_COLLISION ((NTSTATUS)0xC0000035)
#define STATUS_OBJECT_PATH_NOT_FOUND ((NTSTATUS)0xC000003A)
#define STATUS_MUTANT_NOT_OWNED ((NTSTATUS)0xC0000046)
#define STATUS_SEMAPHORE_LIMIT_EXCEEDED ((NTSTATUS)0xC0000047)
#define STATUS_PRIVILEGED_INSTRUCTION ((NTSTATUS)0xC0000096)
#define STATUS_INTEGER_DIVIDE_BY_ZERO ((NTSTATUS)0xC0000094)
#define STATUS_INTEGER_OVERFLOW ((NTSTATUS)0xC0000095)
#define STATUS_INSUFFICIENT_RESOURCES ((NTSTATUS)0xC000009A)
#define STATUS_NOT_SUPPORTED ((NTSTATUS)0xC00000BB)
#define STATUS_DELETE_PENDING ((NTSTATUS)0xC0000056)
#define STATUS_IMAGE_ALREADY_LOADED ((NTSTATUS)0xC000010E)
#define STATUS_CANCELLED ((NTSTATUS)0xC0000120)
#define STATUS_DRIVER_ENTRYPOINT_NOT_FOUND ((NTSTATUS)0xC0000263)
#define STATUS_DRIVER_UNABLE_TO_LOAD ((NTSTATUS)0xC000026C)
#define STATUS_NOT_FOUND ((NTSTATUS)0xC0000225)

#define PASSIVE_LEVEL 0
#define APC_LEVEL 1
#define DISPATCH_LEVEL 2
#define SYNCH_LEVEL 12
#define CLOCK_LEVEL 13
#define IPI_LEVEL 14
#define HIGH_LEVEL 15

#define DPFLTR_SYSTEM_ID 0
#define DPFLTR_VERIFIER_ID 93
#define DPFLTR_IHVDRIVER_ID 77
#define DPFLTR_DEFAULT_ID 101
#define DPFLTR_ERROR_LEVEL 0
#define DPFLTR_WARNING_LEVEL 1
#define DPFLTR_TRACE_LEVEL 2
#define DPFLTR_INFO_LEVEL 3

#define IRP_MJ_CREATE 0x00
#define IRP_MJ_CLOSE 0x02
#define IRP_MJ_READ 0x03
#define IRP_MJ_WRITE 0x04
#define IRP_MJ_DEVICE_CONTROL 0x0e
#define IRP_MJ_CLEANUP 0x12
#define IRP_MJ_MAXIMUM_FUNCTION 0x1b
#define FILE_DEVICE_UNKNOWN 0x22
#define FILE_DEVICE_SECURE_OPEN 0x100
#define DO_BUFFERED_IO 0x04
#define DO_DIRECT_IO 0x10
#define DO_DEVICE_INITIALIZING 0x80
#define IO_NO_INCREMENT 0
#define OBJ_CASE_INSENSITIVE 0x40
#define OBJ_KERNEL_HANDLE 0x200
#define THREAD_ALL_ACCESS 0x1FFFFF

#define POOL_FLAG_USE_QUOTA 0x0000000000000001ULL
#define POOL_FLAG_UNINITIALIZED 0x0000000000000002ULL
#define POOL_FLAG_SESSION 0x0000000000000004ULL
#define POOL_FLAG_CACHE_ALIGNED 0x0000000000000008ULL
#define POOL_FLAG_RAISE_ON_FAILURE 0x0000000000000020ULL
#define POOL_FLAG_NON_PAGED 0x0000000000000040ULL
#define POOL_FLAG_NON_PAGED_EXECUTE 0x0000000000000080ULL
#define POOL_FLAG_PAGED 0x0000000000000100ULL

// lists

FORCEINLINE VOID InitializeListHead(PLIST_ENTRY Head)
{
    Head->Flink = Head->Blink = Head;
}

FORCEINLINE BOOLEAN IsListEmpty(const LIST_ENTRY *Head)
{
    return Head->Flink == Head;
}

FORCEINLINE BOOLEAN RemoveEntryList(PLIST_ENTRY Entry)
{
    PLIST_ENTRY Flink = Entry->Flink, Blink = Entry->Blink;

    Blink->Flink = Flink;
    Flink->Blink = Blink;
    return Flink == Blink;
}

FORCEINLINE PLIST_ENTRY RemoveHeadList(PLIST_ENTRY Head)
{
    PLIST_ENTRY Entry = Head->Flink;

    RemoveEntryList(Entry);
    return Entry;
}

FORCEINLINE VOID InsertTailList(PLIST_ENTRY Head, PLIST_ENTRY Entry)
{
    PLIST_ENTRY Blink = Head->Blink;

    Entry->Flink = Head;
    Entry->Blink = Blink;
    Blink->Flink = Entry;
    Head->Blink = Entry;
}

FORCEINLINE VOID InsertHeadList(PLIST_ENTRY Head, PLIST_ENTRY Entry)
{
    PLIST_ENTRY Flink = Head->Flink;

    Entry->Flink = Flink;
    Entry->Blink = Head;
    Flink->Blink = Entry;
    Head->Flink = Entry;
}

// interlocked operations

FORCEINLINE LONG InterlockedIncrement(volatile LONG *p) { return __atomic_add_fetch(p, 1, 5); }
FORCEINLINE LONG InterlockedDecrement(volatile LONG *p) { return __atomic_sub_fetch(p, 1, 5); }
FORCEINLINE LONG InterlockedExchange(volatile LONG *p, LONG v)
{
    return __atomic_exchange_n(p, v, 5);
}
FORCEINLINE LONG InterlockedExchangeAdd(volatile LONG *p, LONG v)
{
    return __atomic_fetch_add(p, v, 5);
}
FORCEINLINE LONG InterlockedCompareExchange(volatile LONG *p, LONG v, LONG old)
{
    __atomic_compare_exchange_n(p, &old, v, 0, 5, 5);
    return old;
}
FORCEINLINE LONG64 InterlockedIncrement64(volatile LONG64 *p)
{
    return __atomic_add_fetch(p, 1, 5);
}
FORCEINLINE LONG64 InterlockedExchangeAdd64(volatile LONG64 *p, LONG64 v)
{
    return __atomic_fetch_add(p, v, 5);
}
FORCEINLINE PVOID InterlockedExchangePointer(PVOID volatile *p, PVOID v)
{
    return __atomic_exchange_n(p, v, 5);
}
FORCEINLINE PVOID InterlockedCompareExchangePointer(PVOID volatile *p, PVOID v, PVOID old)
{
    __atomic_compare_exchange_n(p, &old, v, 0, 5, 5);
    return old;
}

// ke

NTKERNELAPI KIRQL KeGetCurrentIrql(VOID);
NTKERNELAPI KIRQL KfRaiseIrql(KIRQL NewIrql);
NTKERNELAPI VOID KeLowerIrql(KIRQL NewIrql);
#define KeRaiseIrql(NewIrql, OldIrql) (*(OldIrql) = KfRaiseIrql(NewIrql))
NTKERNELAPI VOID KeInitializeSpinLock(PKSPIN_LOCK SpinLock);
NTKERNELAPI KIRQL KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock);
NTKERNELAPI VOID KeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql);
NTKERNELAPI VOID KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock);
NTKERNELAPI VOID KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK SpinLock);
#define KeAcquireSpinLock(SpinLock, OldIrql) (*(OldIrql) = KeAcquireSpinLockRaiseToDpc(SpinLock))
NTKERNELAPI VOID KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE Handle);
NTKERNELAPI VOID KeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE Handle);
NTKERNELAPI VOID KeInitializeEvent(PKEVENT Event, EVENT_TYPE Type, BOOLEAN State);
NTKERNELAPI LONG KeSetEvent(PKEVENT Event, KPRIORITY Increment, BOOLEAN Wait);
NTKERNELAPI LONG KeResetEvent(PKEVENT Event);
NTKERNELAPI VOID KeClearEvent(PKEVENT Event);
NTKERNELAPI LONG KeReadStateEvent(PKEVENT Event);
NTKERNELAPI VOID KeInitializeSemaphore(PKSEMAPHORE Semaphore, LONG Count, LONG Limit);
NTKERNELAPI LONG KeReleaseSemaphore(PKSEMAPHORE Semaphore, KPRIORITY Increment, LONG Adjustment,
                                    BOOLEAN Wait);
NTKERNELAPI VOID KeInitializeMutex(PKMUTANT Mutex, ULONG Level);
NTKERNELAPI LONG KeReleaseMutex(PKMUTANT Mutex, BOOLEAN Wait);
NTKERNELAPI VOID KeInitializeTimer(PKTIMER Timer);
NTKERNELAPI VOID KeInitializeTimerEx(PKTIMER Timer, TIMER_TYPE Type);
NTKERNELAPI BOOLEAN KeSetTimer(PKTIMER Timer, LARGE_INTEGER DueTime, PKDPC Dpc);
NTKERNELAPI BOOLEAN KeSetTimerEx(PKTIMER Timer, LARGE_INTEGER DueTime, LONG Period, PKDPC Dpc);
NTKERNELAPI BOOLEAN KeCancelTimer(PKTIMER Timer);
NTKERNELAPI BOOLEAN KeReadStateTimer(PKTIMER Timer);
NTKERNELAPI VOID KeInitializeDpc(PKDPC Dpc, PKDEFERRED_ROUTINE Routine, PVOID Context);
NTKERNELAPI BOOLEAN KeInsertQueueDpc(PKDPC Dpc, PVOID Argument1, PVOID Argument2);
NTKERNELAPI BOOLEAN KeRemoveQueueDpc(PKDPC Dpc);
NTKERNELAPI VOID KeSetTargetProcessorDpc(PKDPC Dpc, CCHAR Number);
NTKERNELAPI VOID KeSetImportanceDpc(PKDPC Dpc, KDPC_IMPORTANCE Importance);
NTKERNELAPI VOID KeFlushQueuedDpcs(VOID);
NTKERNELAPI NTSTATUS KeWaitForSingleObject(PVOID Object, KWAIT_REASON Reason, KPROCESSOR_MODE Mode,
                                           BOOLEAN Alertable, PLARGE_INTEGER Timeout);
NTKERNELAPI NTSTATUS KeWaitForMultipleObjects(ULONG Count, PVOID Objects[], WAIT_TYPE Type,
                                              KWAIT_REASON Reason, KPROCESSOR_MODE Mode,
                                              BOOLEAN Alertable, PLARGE_INTEGER Timeout,
                                              PKWAIT_BLOCK WaitBlocks);
NTKERNELAPI NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE Mode, BOOLEAN Alertable,
                                            PLARGE_INTEGER Interval);
NTKERNELAPI KPRIORITY KeSetPriorityThread(PKTHREAD Thread, KPRIORITY Priority);
NTKERNELAPI KPRIORITY KeQueryPriorityThread(PKTHREAD Thread);
NTKERNELAPI PKTHREAD KeGetCurrentThread(VOID);
NTKERNELAPI ULONG KeGetCurrentProcessorNumberEx(PPROCESSOR_NUMBER Number);
NTKERNELAPI ULONG KeQueryActiveProcessorCount(KAFFINITY *Active);
NTKERNELAPI VOID KeEnterCriticalRegion(VOID);
NTKERNELAPI VOID KeLeaveCriticalRegion(VOID);
NTKERNELAPI VOID KeQuerySystemTimePrecise(PLARGE_INTEGER Time);
NTKERNELAPI ULONG64 KeQueryInterruptTime(VOID);
NTKERNELAPI ULONG KeQueryTimeIncrement(VOID);
NTKERNELAPI LARGE_INTEGER KeQueryPerformanceCounter(PLARGE_INTEGER Frequency);
NTKERNELAPI VOID KeStallExecutionProcessor(ULONG Microseconds);
NTKERNELAPI DECLSPEC_NORETURN VOID KeBugCheck(ULONG Code);
NTKERNELAPI DECLSPEC_NORETURN VOID KeBugCheckEx(ULONG Code, ULONG_PTR P1, ULONG_PTR P2,
                                                ULONG_PTR P3, ULONG_PTR P4);
#define SHARED_USER_DATA ((volatile KUSER_SHARED_DATA *)0xFFFFF78000000000ULL)
FORCEINLINE VOID KeQuerySystemTime(PLARGE_INTEGER Time)
{
    Time->QuadPart = *(volatile LONGLONG *)&SHARED_USER_DATA->SystemTime;
}
FORCEINLINE VOID KeQueryTickCount(PLARGE_INTEGER Count)
{
    Count->QuadPart = (LONGLONG)SHARED_USER_DATA->TickCountQuad;
}

// ex

NTKERNELAPI PVOID ExAllocatePoolWithTag(POOL_TYPE Type, SIZE_T Size, ULONG Tag);
NTKERNELAPI PVOID ExAllocatePool2(ULONG64 Flags, SIZE_T Size, ULONG Tag);
NTKERNELAPI PVOID ExAllocatePool(POOL_TYPE Type, SIZE_T Size);
NTKERNELAPI PVOID ExAllocatePoolWithQuotaTag(POOL_TYPE Type, SIZE_T Size, ULONG Tag);
NTKERNELAPI VOID ExFreePoolWithTag(PVOID Block, ULONG Tag);
NTKERNELAPI VOID ExFreePool(PVOID Block);
NTKERNELAPI VOID ExQueueWorkItem(PWORK_QUEUE_ITEM Item, ULONG QueueType);
NTKERNELAPI VOID ExInitializeFastMutex(PFAST_MUTEX Mutex);
NTKERNELAPI VOID ExAcquireFastMutex(PFAST_MUTEX Mutex);
NTKERNELAPI VOID ExReleaseFastMutex(PFAST_MUTEX Mutex);
NTKERNELAPI BOOLEAN ExTryToAcquireFastMutex(PFAST_MUTEX Mutex);
NTKERNELAPI NTSTATUS ExInitializeResourceLite(PERESOURCE Resource);
NTKERNELAPI NTSTATUS ExDeleteResourceLite(PERESOURCE Resource);
NTKERNELAPI BOOLEAN ExAcquireResourceExclusiveLite(PERESOURCE Resource, BOOLEAN Wait);
NTKERNELAPI BOOLEAN ExAcquireResourceSharedLite(PERESOURCE Resource, BOOLEAN Wait);
NTKERNELAPI VOID ExReleaseResourceLite(PERESOURCE Resource);
typedef struct _PAGED_LOOKASIDE_LIST {
    GENERAL_LOOKASIDE L;
} PAGED_LOOKASIDE_LIST, *PPAGED_LOOKASIDE_LIST;
NTKERNELAPI VOID ExInitializeNPagedLookasideList(PNPAGED_LOOKASIDE_LIST List, PVOID Allocate,
                                                 PVOID Free, ULONG Flags, SIZE_T Size, ULONG Tag,
                                                 USHORT Depth);
NTKERNELAPI PVOID ExAllocateFromNPagedLookasideList(PNPAGED_LOOKASIDE_LIST List);
NTKERNELAPI VOID ExFreeToNPagedLookasideList(PNPAGED_LOOKASIDE_LIST List, PVOID Block);
NTKERNELAPI VOID ExDeleteNPagedLookasideList(PNPAGED_LOOKASIDE_LIST List);
NTKERNELAPI VOID ExInitializePagedLookasideList(PPAGED_LOOKASIDE_LIST List, PVOID Allocate,
                                                PVOID Free, ULONG Flags, SIZE_T Size, ULONG Tag,
                                                USHORT Depth);
NTKERNELAPI PVOID ExAllocateFromPagedLookasideList(PPAGED_LOOKASIDE_LIST List);
NTKERNELAPI VOID ExFreeToPagedLookasideList(PPAGED_LOOKASIDE_LIST List, PVOID Block);
NTKERNELAPI VOID ExDeletePagedLookasideList(PPAGED_LOOKASIDE_LIST List);
typedef enum _WORK_QUEUE_TYPE { CriticalWorkQueue, DelayedWorkQueue } WORK_QUEUE_TYPE;
#define ExInitializeWorkItem(Item, Routine, Context)                                         \
    ((Item)->WorkerRoutine = (Routine), (Item)->Parameter = (Context), (Item)->List.Flink = NULL)

// ps, ob, io

NTKERNELAPI NTSTATUS PsCreateSystemThread(PHANDLE Handle, ULONG Access, POBJECT_ATTRIBUTES Attributes,
                                          HANDLE Process, PCLIENT_ID ClientId,
                                          PKSTART_ROUTINE Start, PVOID Context);
NTKERNELAPI NTSTATUS PsTerminateSystemThread(NTSTATUS Status);
NTKERNELAPI PEPROCESS PsGetCurrentProcess(VOID);
NTKERNELAPI HANDLE PsGetCurrentProcessId(VOID);
NTKERNELAPI HANDLE PsGetCurrentThreadId(VOID);
NTKERNELAPI NTSTATUS ObReferenceObjectByHandle(HANDLE Handle, ACCESS_MASK Access, POBJECT_TYPE Type,
                                               KPROCESSOR_MODE Mode, PVOID *Object, PVOID Info);
NTKERNELAPI LONG_PTR ObfReferenceObject(PVOID Object);
NTKERNELAPI LONG_PTR ObfDereferenceObject(PVOID Object);
#define ObReferenceObject ObfReferenceObject
#define ObDereferenceObject ObfDereferenceObject
NTKERNELAPI NTSTATUS ZwClose(HANDLE Handle);
NTKERNELAPI NTSTATUS IoCreateDevice(PDRIVER_OBJECT Driver, ULONG ExtensionSize, PUNICODE_STRING Name,
                                    DEVICE_TYPE Type, ULONG Characteristics, BOOLEAN Exclusive,
                                    PDEVICE_OBJECT *Device);
NTKERNELAPI VOID IoDeleteDevice(PDEVICE_OBJECT Device);
NTKERNELAPI NTSTATUS IoCreateSymbolicLink(PUNICODE_STRING Link, PUNICODE_STRING Target);
NTKERNELAPI NTSTATUS IoDeleteSymbolicLink(PUNICODE_STRING Link);
NTKERNELAPI VOID IofCompleteRequest(PIRP Irp, CCHAR Boost);
NTKERNELAPI NTSTATUS IofCallDriver(PDEVICE_OBJECT Device, PIRP Irp);
NTKERNELAPI PIRP IoAllocateIrp(CCHAR StackSize, BOOLEAN ChargeQuota);
NTKERNELAPI VOID IoFreeIrp(PIRP Irp);
typedef struct _IO_WORKITEM *PIO_WORKITEM;
typedef VOID IO_WORKITEM_ROUTINE(PDEVICE_OBJECT Device, PVOID Context);
NTKERNELAPI PIO_WORKITEM IoAllocateWorkItem(PDEVICE_OBJECT Device);
NTKERNELAPI VOID IoFreeWorkItem(PIO_WORKITEM Item);
NTKERNELAPI VOID IoQueueWorkItem(PIO_WORKITEM Item, IO_WORKITEM_ROUTINE *Routine,
                                 WORK_QUEUE_TYPE QueueType, PVOID Context);
#define IoCompleteRequest IofCompleteRequest
#define IoCallDriver IofCallDriver
NTKERNELAPI PDEVICE_OBJECT IoGetAttachedDevice(PDEVICE_OBJECT Device);
NTKERNELAPI PDEVICE_OBJECT IoAttachDeviceToDeviceStack(PDEVICE_OBJECT Source,
                                                       PDEVICE_OBJECT Target);
NTKERNELAPI VOID IoDetachDevice(PDEVICE_OBJECT Target);
NTKERNELAPI NTSTATUS IoGetDeviceObjectPointer(PUNICODE_STRING Name, ACCESS_MASK Access,
                                              PFILE_OBJECT *File, PDEVICE_OBJECT *Device);
NTKERNELAPI BOOLEAN IoCancelIrp(PIRP Irp);
NTKERNELAPI VOID IoAcquireCancelSpinLock(PKIRQL Irql);
NTKERNELAPI VOID IoReleaseCancelSpinLock(KIRQL Irql);
NTKERNELAPI NTSTATUS IoConnectInterrupt(PKINTERRUPT *Interrupt, KSERVICE_ROUTINE *ServiceRoutine,
                                        PVOID ServiceContext, PKSPIN_LOCK SpinLock, ULONG Vector,
                                        KIRQL Irql, KIRQL SynchronizeIrql, KINTERRUPT_MODE Mode,
                                        BOOLEAN ShareVector, KAFFINITY Affinity,
                                        BOOLEAN FloatingSave);
NTKERNELAPI VOID IoDisconnectInterrupt(PKINTERRUPT Interrupt);

#define SL_PENDING_RETURNED 0x01
#define SL_INVOKE_ON_CANCEL 0x20
#define SL_INVOKE_ON_SUCCESS 0x40
#define SL_INVOKE_ON_ERROR 0x80
#define STATUS_MORE_PROCESSING_REQUIRED ((NTSTATUS)0xC0000016)
typedef NTSTATUS IO_COMPLETION_ROUTINE(PDEVICE_OBJECT Device, PIRP Irp, PVOID Context);
typedef VOID DRIVER_CANCEL(PDEVICE_OBJECT Device, PIRP Irp);

FORCEINLINE PIO_STACK_LOCATION IoGetCurrentIrpStackLocation(PIRP Irp)
{
    return Irp->Tail.Overlay.CurrentStackLocation;
}

FORCEINLINE PIO_STACK_LOCATION IoGetNextIrpStackLocation(PIRP Irp)
{
    return Irp->Tail.Overlay.CurrentStackLocation - 1;
}

FORCEINLINE VOID IoMarkIrpPending(PIRP Irp)
{
    IoGetCurrentIrpStackLocation(Irp)->Control |= SL_PENDING_RETURNED;
}

// Everything but the completion routine, which is the next driver's to set.
FORCEINLINE VOID IoCopyCurrentIrpStackLocationToNext(PIRP Irp)
{
    PIO_STACK_LOCATION Next = IoGetNextIrpStackLocation(Irp);

    *Next = *IoGetCurrentIrpStackLocation(Irp);
    Next->Control = 0;
    Next->CompletionRoutine = NULL;
    Next->Context = NULL;
}

FORCEINLINE VOID IoSetCompletionRoutine(PIRP Irp, IO_COMPLETION_ROUTINE *Routine, PVOID Context,
                                        BOOLEAN OnSuccess, BOOLEAN OnError, BOOLEAN OnCancel)
{
    PIO_STACK_LOCATION Next = IoGetNextIrpStackLocation(Irp);

    Next->CompletionRoutine = (PVOID)Routine;
    Next->Context = Context;
    Next->Control = (UCHAR)((OnSuccess ? SL_INVOKE_ON_SUCCESS : 0) |
                            (OnError ? SL_INVOKE_ON_ERROR : 0) |
                            (OnCancel ? SL_INVOKE_ON_CANCEL : 0));
}

FORCEINLINE DRIVER_CANCEL *IoSetCancelRoutine(PIRP Irp, DRIVER_CANCEL *Routine)
{
    return (DRIVER_CANCEL *)InterlockedExchangePointer((PVOID volatile *)&Irp->CancelRoutine,
                                                       (PVOID)Routine);
}

// rtl

NTKERNELAPI VOID RtlInitUnicodeString(PUNICODE_STRING String, PCWSTR Source);
NTKERNELAPI VOID RtlInitAnsiString(PANSI_STRING String, PCSTR Source);
NTKERNELAPI VOID RtlCopyUnicodeString(PUNICODE_STRING Target, PCUNICODE_STRING Source);
NTKERNELAPI BOOLEAN RtlEqualUnicodeString(PCUNICODE_STRING A, PCUNICODE_STRING B, BOOLEAN NoCase);
NTKERNELAPI LONG RtlCompareUnicodeString(PCUNICODE_STRING A, PCUNICODE_STRING B, BOOLEAN NoCase);
NTKERNELAPI NTSTATUS RtlAppendUnicodeToString(PUNICODE_STRING Target, PCWSTR Source);
NTKERNELAPI NTSTATUS RtlAppendUnicodeStringToString(PUNICODE_STRING Target, PCUNICODE_STRING Source);
NTKERNELAPI USHORT RtlCaptureStackBackTrace(ULONG Skip, ULONG Count, PVOID *BackTrace, PULONG Hash);
NTKERNELAPI VOID RtlCaptureContext(PCONTEXT Context);
NTKERNELAPI void *memset(void *Target, int Value, SIZE_T Size);
NTKERNELAPI void *memcpy(void *Target, const void *Source, SIZE_T Size);
NTKERNELAPI void *memmove(void *Target, const void *Source, SIZE_T Size);
NTKERNELAPI int memcmp(const void *A, const void *B, SIZE_T Size);
NTKERNELAPI SIZE_T strlen(const char *String);
NTKERNELAPI int _snprintf(char *Buffer, SIZE_T Count, const char *Format, ...);
#define RtlZeroMemory(p, n) memset((p), 0, (n))
#define RtlFillMemory(p, n, v) memset((p), (v), (n))
#define RtlCopyMemory(t, s, n) memcpy((t), (s), (n))
#define RtlMoveMemory(t, s, n) memmove((t), (s), (n))

// kd

NTKERNELAPI ULONG DbgPrint(PCSTR Format, ...);
NTKERNELAPI ULONG DbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, ...);
NTKERNELAPI ULONG vDbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, va_list Arguments);
NTKERNELAPI ULONG vDbgPrintExWithPrefix(PCSTR Prefix, ULONG ComponentId, ULONG Level, PCSTR Format,
                                        va_list Arguments);
NTKERNELAPI VOID DbgBreakPoint(VOID);
NTKERNELAPI VOID DbgBreakPointWithStatus(ULONG Status);
NTKERNELAPI NTSTATUS DbgQueryDebugFilterState(ULONG ComponentId, ULONG Level);
NTKERNELAPI NTSTATUS DbgSetDebugFilterState(ULONG ComponentId, ULONG Level, BOOLEAN State);

// mm

NTKERNELAPI BOOLEAN MmIsAddressValid(PVOID Address);
NTKERNELAPI LARGE_INTEGER MmGetPhysicalAddress(PVOID Address);
NTKERNELAPI PVOID MmGetSystemRoutineAddress(PUNICODE_STRING Name);

