// The kernel debugger support's own declarations.
#pragma once
#include "ntos.h"

extern PULONG KdComponentTable[];
extern ULONG KdComponentTableSize;
extern ULONG Kd_WIN2000_Mask;
extern ULONG Kd_DEFAULT_Mask;
extern CHAR KdPrintDefaultCircularBuffer[];
extern PCHAR KdPrintCircularBuffer;
extern PCHAR KdPrintWritePointer;
extern ULONG KdPrintRolloverCount;
extern ULONG KdPrintBufferSize;
VOID KdLogDbgPrint(PSTRING Text);
VOID DebugService2(PVOID Argument1, PVOID Argument2, ULONG Service);
