// Stack walking by the images' unwind tables (.pdata, x64). There are no exception handlers to
// call, and a function interrupted inside its epilogue is taken for its body.
#include "rtl.h"

#define UNWIND_CHAIN_INFO 4
#define UNWIND_FRAME_LIMIT 64

typedef struct _RUNTIME_FUNCTION {
    ULONG BeginAddress;
    ULONG EndAddress;
    ULONG UnwindData;
} RUNTIME_FUNCTION, *PRUNTIME_FUNCTION;

typedef struct _UNWIND_CODE {
    UCHAR CodeOffset;
    UCHAR UnwindOp : 4;
    UCHAR OpInfo : 4;
} UNWIND_CODE, *PUNWIND_CODE;

typedef struct _UNWIND_INFO {
    UCHAR Version : 3;
    UCHAR Flags : 5;
    UCHAR SizeOfProlog;
    UCHAR CountOfCodes;
    UCHAR FrameRegister : 4;
    UCHAR FrameOffset : 4;
    UNWIND_CODE UnwindCode[];
} UNWIND_INFO, *PUNWIND_INFO;

typedef enum _UNWIND_OP {
    UWOP_PUSH_NONVOL = 0,
    UWOP_ALLOC_LARGE = 1,
    UWOP_ALLOC_SMALL = 2,
    UWOP_SET_FPREG = 3,
    UWOP_SAVE_NONVOL = 4,
    UWOP_SAVE_NONVOL_FAR = 5,
    UWOP_SAVE_XMM128 = 8,
    UWOP_SAVE_XMM128_FAR = 9,
    UWOP_PUSH_MACHFRAME = 10,
} UNWIND_OP;

// The function that holds ControlPc, NULL for a leaf or for no image at all.
PRUNTIME_FUNCTION RtlLookupFunctionEntry(ULONG64 ControlPc, PULONG64 ImageBase)
{
    PKLDR_DATA_TABLE_ENTRY Entry = MiLookupDataTableEntry((PVOID)ControlPc);
    PRUNTIME_FUNCTION Table;
    ULONG Rva, Low = 0, High;

    if (Entry == NULL || Entry->ExceptionTable == NULL)
        return NULL;
    *ImageBase = (ULONG64)Entry->DllBase;
    Table = Entry->ExceptionTable;
    Rva = (ULONG)(ControlPc - *ImageBase);
    for (High = Entry->ExceptionTableSize / sizeof(*Table); Low < High;) {
        ULONG Middle = (Low + High) / 2;
        if (Rva < Table[Middle].BeginAddress)
            High = Middle;
        else if (Rva >= Table[Middle].EndAddress)
            Low = Middle + 1;
        else
            return &Table[Middle];
    }
    return NULL;
}

// The general registers stand in CONTEXT in the order of their numbers.
static PULONG64 UnwindRegister(PCONTEXT Context, ULONG Number)
{
    return (PULONG64)&Context->Rax + Number;
}

static ULONG64 UnwindPop(PCONTEXT Context)
{
    ULONG64 Value = *(PULONG64)Context->Rsp;

    Context->Rsp += sizeof(ULONG64);
    return Value;
}

static ULONG UnwindSlots(const UNWIND_CODE *Code)
{
    switch (Code->UnwindOp) {
    case UWOP_ALLOC_LARGE:
        return Code->OpInfo == 0 ? 2 : 3;
    case UWOP_SAVE_NONVOL:
    case UWOP_SAVE_XMM128:
        return 2;
    case UWOP_SAVE_NONVOL_FAR:
    case UWOP_SAVE_XMM128_FAR:
        return 3;
    default:
        return 1;
    }
}

// Undoes one prologue operation. TRUE: it was a machine frame, and Rip and Rsp are final.
static BOOLEAN UnwindApply(PCONTEXT Context, const UNWIND_INFO *Info, const UNWIND_CODE *Code,
                           ULONG64 Frame)
{
    const USHORT *Operand = (const USHORT *)(Code + 1);
    ULONG64 Error;

    switch (Code->UnwindOp) {
    case UWOP_PUSH_NONVOL:
        *UnwindRegister(Context, Code->OpInfo) = UnwindPop(Context);
        break;
    case UWOP_ALLOC_LARGE:
        Context->Rsp += Code->OpInfo == 0 ? Operand[0] * 8u : Operand[0] | (ULONG)Operand[1] << 16;
        break;
    case UWOP_ALLOC_SMALL:
        Context->Rsp += Code->OpInfo * 8u + 8;
        break;
    case UWOP_SET_FPREG:
        Context->Rsp = *UnwindRegister(Context, Info->FrameRegister) - Info->FrameOffset * 16u;
        break;
    case UWOP_SAVE_NONVOL:
        *UnwindRegister(Context, Code->OpInfo) = *(PULONG64)(Frame + Operand[0] * 8u);
        break;
    case UWOP_SAVE_NONVOL_FAR:
        *UnwindRegister(Context, Code->OpInfo) =
            *(PULONG64)(Frame + (Operand[0] | (ULONG)Operand[1] << 16));
        break;
    case UWOP_PUSH_MACHFRAME:
        Error = Code->OpInfo * sizeof(ULONG64);
        Context->Rip = *(PULONG64)(Context->Rsp + Error);
        Context->Rsp = *(PULONG64)(Context->Rsp + Error + 3 * sizeof(ULONG64));
        return TRUE;
    default:                                // XMM registers: nobody here reads them
        break;
    }
    return FALSE;
}

// Replaces Context by the caller's.
VOID RtlVirtualUnwind(ULONG64 ImageBase, ULONG64 ControlPc, PRUNTIME_FUNCTION Function,
                      PCONTEXT Context)
{
    ULONG Offset = (ULONG)(ControlPc - ImageBase) - Function->BeginAddress;
    PUNWIND_INFO Info;
    BOOLEAN MachineFrame = FALSE;

    for (;;) {
        ULONG64 Frame = Context->Rsp;
        Info = (PUNWIND_INFO)(ImageBase + Function->UnwindData);
        if (Info->FrameRegister != 0 && Offset >= Info->SizeOfProlog)
            Frame = *UnwindRegister(Context, Info->FrameRegister) - Info->FrameOffset * 16u;
        for (ULONG i = 0; i < Info->CountOfCodes; i += UnwindSlots(&Info->UnwindCode[i]))
            if (Offset >= Info->UnwindCode[i].CodeOffset)
                MachineFrame |= UnwindApply(Context, Info, &Info->UnwindCode[i], Frame);
        if (!(Info->Flags & UNWIND_CHAIN_INFO))
            break;
        Function = (PRUNTIME_FUNCTION)&Info->UnwindCode[(Info->CountOfCodes + 1) & ~1];
        Offset = MAXULONG;                  // the parent's prologue is complete
    }
    if (!MachineFrame)
        Context->Rip = UnwindPop(Context);
}

// Return addresses from the one into the caller on, Skip of them left out.
USHORT RtlCaptureStackBackTrace(ULONG Skip, ULONG Count, PVOID *BackTrace, PULONG Hash)
{
    CONTEXT Context;
    ULONG Captured = 0, Sum = 0;
    ULONG64 ImageBase;

    RtlCaptureContext(&Context);
    for (ULONG Frame = 0; Frame < UNWIND_FRAME_LIMIT && Captured < Count; Frame++) {
        PRUNTIME_FUNCTION Function = RtlLookupFunctionEntry(Context.Rip, &ImageBase);

        if (!MmIsAddressValid((PVOID)Context.Rsp))
            break;
        if (Function != NULL)
            RtlVirtualUnwind(ImageBase, Context.Rip, Function, &Context);
        else
            Context.Rip = UnwindPop(&Context);
        if (MiLookupDataTableEntry((PVOID)Context.Rip) == NULL)
            break;
        if (Frame < Skip)
            continue;
        BackTrace[Captured++] = (PVOID)Context.Rip;
        Sum += (ULONG)Context.Rip;
    }
    if (Hash != NULL)
        *Hash = Sum;
    return (USHORT)Captured;
}
