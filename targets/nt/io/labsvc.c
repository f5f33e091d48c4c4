// The service controller: starts and stops drivers when the lab's schedule says so. The loader
// block's tasks stand where the Service Control Manager and the task scheduler do in Windows.
#include "io.h"

#define SERVICES_KEY L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\"

// The registry key of the service that a driver file stands for.
static VOID LabsvcServiceKey(PCSTR FileName, PUNICODE_STRING Key)
{
    WCHAR Character[2] = {0};

    Key->Length = 0;
    RtlAppendUnicodeToString(Key, SERVICES_KEY);
    for (; *FileName != 0 && *FileName != '.'; FileName++) {
        Character[0] = (UCHAR)*FileName;
        RtlAppendUnicodeToString(Key, Character);
    }
}

static VOID LabsvcWaitUntil(ULONG64 DueTime)
{
    LARGE_INTEGER Interval;
    ULONG64 Now = HalpQueryTime();

    if (DueTime <= Now)
        return;
    Interval.QuadPart = -(LONG64)(DueTime - Now);
    KeDelayExecutionThread(KernelMode, FALSE, &Interval);
}

static VOID LabsvcRunTask(const KDSIM_TASK *Task)
{
    BOOLEAN Start = Task->Action == TaskStartService;
    WCHAR Buffer[128];
    UNICODE_STRING Key;
    NTSTATUS Status;

    RtlInitEmptyUnicodeString(&Key, Buffer, sizeof(Buffer));
    LabsvcServiceKey(Task->Driver, &Key);
    Status = Start ? NtLoadDriver(&Key) : NtUnloadDriver(&Key);
    DbgPrintEx(DPFLTR_DEFAULT_ID, NT_SUCCESS(Status) ? DPFLTR_INFO_LEVEL : DPFLTR_ERROR_LEVEL,
               "labsvc: %s %s: 0x%08x\n", Start ? "start" : "stop", Task->Driver, Status);
}

VOID LabsvcSchedule(PVOID Context)
{
    PKDSIM_LOADER_BLOCK LoaderBlock = Context;
    ULONG64 Start = HalpQueryTime();

    for (ULONG i = 0; i < LoaderBlock->NumberTasks; i++) {
        LabsvcWaitUntil(Start + LoaderBlock->Tasks[i].Time100ns);
        LabsvcRunTask(&LoaderBlock->Tasks[i]);
    }
}
