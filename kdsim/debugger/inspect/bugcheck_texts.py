"""Further bug checks: text, parameters, and where the parameters name an instruction or an address.

Facts: the pages of the bug check code reference; the wording is ours.
"""

from __future__ import annotations

from kdsim.debugger.inspect.bugchecks_model import BugCheck, Variant

_FAULT = ("address referenced", "kind of access", "address which referenced memory", "reserved")

_RESOURCE_ARGUMENTS = ("resource", "thread", "owner table if it exists", "reserved")

_MEMORY_MANAGEMENT = {
    0x403: Variant("page tables and page frame numbers are out of step", ("", "", "")),
    0x411: Variant("a page table entry is damaged", ("address of the entry", "", "")),
    0x41284: Variant("a page table entry or the working set list is damaged", ("", "", "")),
    0x41790: Variant("a page table page is damaged", ("", "", "")),
    0x5003: Variant("the working set free list is damaged", ("", "", "")),
}

_POWER_STATE = {
    0x1: Variant(
        "a device object that is freed still has a power request outstanding",
        ("device object", "reserved", "reserved"),
    ),
    0x2: Variant(
        "the IRP for the system power state was completed without PoStartNextPowerIrp",
        ("device object of the target device", "device object", "driver object"),
    ),
    0x3: Variant(
        "a device object has been blocking an IRP for too long a time",
        ("physical device object of the stack", "nt!_TRIAGE_9F_POWER", "the blocked IRP"),
    ),
    0x4: Variant(
        "the power state transition timed out waiting for the PnP subsystem",
        ("time-out in seconds", "thread that holds the PnP lock", "nt!_TRIAGE_9F_PNP"),
    ),
    0x5: Variant(
        "the device failed to complete a directed power transition in time",
        ("physical device object of the stack", "POP_FX_DEVICE object", "reserved"),
    ),
}

_WATCHDOG = {
    0x0: Variant(
        "a single DPC or ISR exceeded its time allotment",
        ("DPC time count in ticks", "DPC time allotment in ticks", "triage block"),
    ),
    0x1: Variant(
        "the system spent an extended period at DISPATCH_LEVEL or above",
        ("watchdog period", "triage block", "reserved"),
    ),
}

_POOL_HEADER = {
    0x2: Variant("the special pool pattern check failed", ("pool entry", "size", "0")),
    0x3: Variant(
        "the pool freelist is corrupt",
        ("pool entry being checked", "read back flink", "read back blink"),
    ),
    0x20: Variant(
        "a pool block header size is corrupt",
        ("pool entry that should have been found", "next pool entry", "reserved"),
    ),
    0x21: Variant("the data following a freed block is corrupt", ("block", "bytes", "pattern")),
}


BUGCHECKS: dict[int, BugCheck] = {
    0x19: BugCheck(
        "BAD_POOL_HEADER",
        "The pool is corrupt already at the time of the current request. The caller need not be\n"
        "the one who damaged it.",
        ("kind of damage", "", "", ""),
        variants=_POOL_HEADER,
    ),
    0x1A: BugCheck(
        "MEMORY_MANAGEMENT",
        "A severe memory management error has happened.",
        ("kind of error", "", "", ""),
        variants=_MEMORY_MANAGEMENT,
    ),
    0x24: BugCheck(
        "NTFS_FILE_SYSTEM",
        "The NTFS driver found a problem. The .cxr command shows where, when parameter 3 is given.",
        ("source file and line number", "exception record", "context record", ""),
        exception_record=1,
        context=2,
    ),
    0x35: BugCheck(
        "NO_MORE_IRP_STACK_LOCATIONS",
        "A higher driver called a lower one with an IRP that has no stack location left for it.",
        ("address of the IRP", "0", "0", "0"),
    ),
    0x44: BugCheck(
        "MULTIPLE_IRP_COMPLETE_REQUESTS",
        "A driver asked to complete an IRP that was completed already. Two drivers may each\n"
        "believe that they own it.",
        ("address of the IRP", "reserved", "reserved", "reserved"),
    ),
    0x4E: BugCheck(
        "PFN_LIST_CORRUPT",
        "The page frame number list is damaged, mostly by a driver with a bad memory descriptor\n"
        "list.",
        ("kind of damage", "", "", ""),
    ),
    0x76: BugCheck(
        "PROCESS_HAS_LOCKED_PAGES",
        "A driver left pages of a process locked after its I/O.",
        ("kind of error", "process", "number of locked pages", "driver stacks, when traced"),
    ),
    0x8E: BugCheck(
        "KERNEL_MODE_EXCEPTION_NOT_HANDLED",
        "A kernel-mode exception was not handled.",
        ("exception code", "address the exception occurred at", "trap frame", "0"),
        faulting_ip=1,
        exception=0,
        trap_frame=2,
    ),
    0x9F: BugCheck(
        "DRIVER_POWER_STATE_FAILURE",
        "A driver has failed to complete a power IRP within a specific time.",
        ("kind of error", "", "", ""),
        variants=_POWER_STATE,
    ),
    0xBE: BugCheck(
        "ATTEMPTED_WRITE_TO_READONLY_MEMORY",
        "A driver attempted to write to read-only memory.",
        ("virtual address of the write", "page table entry", "reserved", "reserved"),
        fault_address=0,
    ),
    0xC1: BugCheck(
        "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION",
        "A driver wrote to an invalid section of special pool.",
        ("address being freed", "reserved", "reserved", "kind of error"),
    ),
    0xC9: BugCheck(
        "DRIVER_VERIFIER_IOMANAGER_VIOLATION",
        "The I/O manager caught a misbehaving driver.",
        ("code of the violation", "", "", ""),
    ),
    0xCE: BugCheck(
        "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS",
        "A driver unloaded before it cancelled lookaside lists, DPCs, worker threads or the like.",
        _FAULT,
        faulting_ip=2,
        fault_address=0,
        access=1,
    ),
    0xD5: BugCheck(
        "DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL",
        "A driver referenced memory that it had freed before.",
        _FAULT,
        faulting_ip=2,
        fault_address=0,
        access=1,
    ),
    0xEA: BugCheck(
        "THREAD_STUCK_IN_DEVICE_DRIVER",
        "A device driver is spinning in a loop, most likely waiting for its hardware.",
        ("stuck thread", "watchdog object", "driver name", "number of times it was detected"),
    ),
    0xE3: BugCheck(
        "RESOURCE_NOT_OWNED",
        "A thread tried to release a resource it did not own.",
        _RESOURCE_ARGUMENTS,
    ),
    0xEF: BugCheck(
        "CRITICAL_PROCESS_DIED",
        "A critical system process died.",
        ("process object", "0: a process terminated, 1: a thread", "reserved", "reserved"),
    ),
    0xF4: BugCheck(
        "CRITICAL_OBJECT_TERMINATION",
        "A process or thread crucial to the system has exited or was terminated.",
        ("type of the object", "terminating object", "process image file name", "explanation"),
    ),
    0xFC: BugCheck(
        "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
        "An attempt was made to execute memory that is not executable.",
        ("virtual address of the attempt", "page table entry", "reserved", "reserved"),
        fault_address=0,
    ),
    0x101: BugCheck(
        "CLOCK_WATCHDOG_TIMEOUT",
        "An expected clock interrupt was not received on a secondary processor in time.",
        (
            "clock interrupt time-out interval in nominal clock ticks",
            "0",
            "PRCB of the processor that does not respond",
            "index of that processor",
        ),
    ),
    0x109: BugCheck(
        "CRITICAL_STRUCTURE_CORRUPTION",
        "Critical kernel code or data was modified: by a driver, a developer with a debugger,\n"
        "or the hardware.",
        ("reserved", "reserved", "failure type dependent information", "type of the region"),
    ),
    0x116: BugCheck(
        "VIDEO_TDR_FAILURE",
        "An attempt to reset the display driver and recover from a time-out failed.",
        ("TDR recovery context", "pointer into the driver", "error code", "internal"),
    ),
    0x124: BugCheck(
        "WHEA_UNCORRECTABLE_ERROR",
        "A fatal hardware error has occurred; see !errrec with parameter 2.",
        ("type of the error source", "WHEA_ERROR_RECORD", "high 32 bits of status", "low 32 bits"),
    ),
    0x133: BugCheck(
        "DPC_WATCHDOG_VIOLATION",
        "The DPC watchdog found a DPC or the system at DISPATCH_LEVEL for too long.",
        ("kind of violation", "", "", ""),
        variants=_WATCHDOG,
    ),
}
