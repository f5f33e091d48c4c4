// Where a debugger's request for a crash sends a processor, on a machine frame of whatever ran.
#include "kxamd64.h"
    .text

#define MANUALLY_INITIATED_CRASH 0xE2

PROC KdpCauseBugCheck
    .seh_pushframe
    sub rsp, 0x38
    .seh_stackalloc 0x38
    .seh_endprologue
    mov qword ptr [rsp+0x20], 0
    xor r9d, r9d
    xor r8d, r8d
    xor edx, edx
    mov ecx, MANUALLY_INITIATED_CRASH
    call KeBugCheckEx
    int 3
ENDPROC KdpCauseBugCheck
