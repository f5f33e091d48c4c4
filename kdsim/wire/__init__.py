"""The KD protocol: messages, packets, KDCOM and KDNET, links and connections.

From the bottom up: `packets` (headers and stream framing), `messages` and `manipulate` (what they
carry), `endpoint` with `kdcom` and `kdnet` (both ends of both transports, bytes in and bytes out),
`links` (sockets), `connection` (what a target's and a debugger's thread call), `transport`
(connection strings) and `local` (`kd -kl`).
"""
