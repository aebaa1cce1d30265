-- Wireshark's dissector for what cardbench captures: the hop, the chain and the channels of docs/protocol.md, beside scenario, point and step.
--
--   wireshark -X lua_script:"$(cardbench dissector)" capture.pcapng
--
-- Control packets of the chain are link type USER0, channel messages USER1. Hop commands and their answers are APDUs, which Wireshark's own dissector
-- shows first: a post-dissector adds the hop below it, and the step to every packet. For Lua 5.2 and later (Wireshark 4.0 and later): no bit
-- operators and no bit32.
-- What the codecs of cardbench refuse is marked with the expert fields *.malformed, with the reason: warnings (group Protocol), since who receives
-- such a packet discards it and goes on, and scenarios send some on purpose. The names are in docs/captures.md.

local HOP_CLASS = 0x80
local ENVELOPE, GET_RESPONSE = 0xC2, 0xC0
local USER0, USER1 = 45, 46 -- Wireshark's own numbers of link types 147 and 148 (wiretap/wtap.h)

local base_proto = Proto("cardbench", "cardbench")
local hop_proto = Proto("cardbench.hop", "IP card hop")
local chain_proto = Proto("cardbench.chain", "IP card chain")
local channel_proto = Proto("cardbench.channel", "IP card channel")

hop_proto.prefs.class = Pref.uint("Class byte of the hop", HOP_CLASS, "docs/protocol.md, 1.1: declared with the card, by default 0x80 (128)")

local function register(proto, prefix, fields)
    local all = {}
    for name, make in pairs(fields) do
        fields[name] = make(prefix .. "." .. name)
        all[#all + 1] = fields[name]
    end
    proto.fields = all
    return fields
end

-- Makers of fields: the full name comes last.
local function uint8(label, names, form) return function(name) return ProtoField.uint8(name, label, form or base.DEC, names) end end
local function uint16(label, form, names) return function(name) return ProtoField.uint16(name, label, form or base.DEC, names) end end
local function bit(label, mask) return function(name) return ProtoField.bool(name, label, 8, nil, mask) end end
local function flag(label) return function(name) return ProtoField.bool(name, label) end end
local function bits(label, mask, names) return function(name) return ProtoField.uint8(name, label, base.DEC, names, mask) end end
local function bytes(label) return function(name) return ProtoField.bytes(name, label) end end
local function text(label) return function(name) return ProtoField.string(name, label) end end
local function ipv4(label) return function(name) return ProtoField.ipv4(name, label) end end
local function ipv6(label) return function(name) return ProtoField.ipv6(name, label) end end
local function frame(label, kind) return function(name) return ProtoField.framenum(name, label, base.NONE, kind) end end

local KINDS = { [0] = "control", [1] = "channel", [4] = "ipv4", [6] = "ipv6", [7] = "ppp" }
local CONTROL = {
    [1] = "HELLO", [2] = "HELLO ANSWER", [3] = "NODE UP", [4] = "NODE DOWN", [5] = "PREFIX", [6] = "ADDRESS", [7] = "NAME",
}
local DOWN_REASONS = { [0] = "unknown", [1] = "mute", [2] = "absent", [3] = "bad protocol" }
local DEEDS = { [0] = "CLAIM", [1] = "GRANT", [2] = "REFUSE", [3] = "RELEASE" }
local REFUSALS = { [0] = "none", [1] = "in use", [2] = "pool exhausted", [3] = "not permitted", [4] = "no memory" }
local MESSAGES = {
    [1] = "OPEN", [2] = "OPENED", [3] = "REFUSED", [4] = "DATA", [5] = "CREDIT", [6] = "SHUT", [7] = "CLOSE", [8] = "UNREACHABLE",
}
local WEIGHTS = { [0] = 1, [1] = 2, [2] = 4, [3] = 8 }
local TRANSPORTS = {
    [0x01] = "UDP client, remote", [0x02] = "TCP client, remote", [0x03] = "TCP server",
    [0x04] = "UDP client, local", [0x05] = "TCP client, local", [0x83] = "UDP server",
}
local ADDRESS_KINDS = { [0] = "none", [1] = "name", [4] = "IPv4", [6] = "IPv6" }
local CAUSES = {
    [0x00] = "no specific cause", [0x01] = "no channel available", [0x02] = "channel closed", [0x03] = "channel number not valid",
    [0x04] = "requested buffer size not available", [0x05] = "security error", [0x06] = "requested transport level not available",
    [0x07] = "remote device not reachable", [0x08] = "service error", [0x09] = "service unknown", [0x10] = "port not available",
}
local STATUS = {
    [0x6200] = "nothing waits", [0x6A84] = "no memory now, not taken", [0x6A80] = "taken, makes no sense",
    [0x6700] = "no segment header", [0x6985] = "not announced, or the hop is down", [0x6E00] = "no such class", [0x6D00] = "no such instruction",
}

local STEP = register(base_proto, "cardbench", {
    scenario = text("Scenario"),
    point = text("Point"),
    step = uint16("Step"),
    verb = text("Verb"),
    line = uint16("Hop"),
})
local HOP = register(hop_proto, "cardbench.hop", {
    instruction = uint8("Instruction", { [ENVELOPE] = "ENVELOPE", [GET_RESPONSE] = "GET RESPONSE" }, base.HEX),
    sequenced = bit("Sequenced", 0x80),
    explicit = bit("E: tell of the next segment by 61xx", 0x40),
    expect = bits("R: toggle expected next", 0x01),
    le = uint8("Le"),
    poll = flag("Poll"),
    plain = flag("Plain fetch"),
    segment = bytes("Segment"),
    first = bits("F: first segment", 0x80),
    last = bits("L: last segment", 0x40),
    toggle = bits("S: toggle", 0x20),
    reserved = bits("Reserved", 0x10),
    kind = bits("Kind", 0x0F, KINDS),
    payload = bytes("Payload"),
    length = uint16("Payload length"),
    sw = uint16("Status word", base.HEX),
    meaning = text("Meaning"),
    repetition = flag("Same toggle as the segment before it"),
    command_in = frame("Answer to the command in", frametype.REQUEST),
})
local CHAIN = register(chain_proto, "cardbench.chain", {
    type = uint8("Type", CONTROL),
    version = uint8("Version"),
    node = uint8("Node"),
    mtu = uint16("MTU"),
    poll_ms = uint16("Longest poll period (ms)"),
    channels = uint8("Channels"),
    ports = uint8("Ports"),
    identity = bytes("Identity"),
    reason = uint8("Reason", DOWN_REASONS),
    prefix_length = uint8("Prefix length"),
    prefix_ipv4 = ipv4("Prefix"),
    prefix_ipv6 = ipv6("Prefix"),
    deed = uint8("Deed", DEEDS),
    refusal = uint8("Reason of refusal", REFUSALS),
    ipv4 = ipv4("Address"),
    ipv6 = ipv6("Address"),
    name = text("Name"),
})
local CHANNEL = register(channel_proto, "cardbench.channel", {
    version = bits("Version", 0xC0),
    weight = uint8("Weight"),
    type = bits("Type", 0x0F, MESSAGES),
    destination = uint8("Destination"),
    source = uint8("Source"),
    number = uint8("Channel (the recipient's number)"),
    credit = uint8("Credit"),
    body = bytes("Body"),
    length = uint16("Body length"),
    own = uint8("Sender's channel"),
    transport = uint8("Transport", TRANSPORTS, base.HEX),
    port = uint16("Port"),
    mtu = uint16("MTU of the sender"),
    address_kind = uint8("Address kind", ADDRESS_KINDS),
    name = text("Name"),
    ipv4 = ipv4("Address"),
    ipv6 = ipv6("Address"),
    cause = uint8("Cause", CAUSES, base.HEX),
})

local function malformed(proto, name)
    local field = ProtoExpert.new(name .. ".malformed", "Malformed", expert.group.PROTOCOL, expert.severity.WARN)
    proto.experts = { field }
    return field
end
local HOP_MALFORMED = ProtoExpert.new("cardbench.hop.malformed", "Malformed", expert.group.PROTOCOL, expert.severity.WARN)
local HOP_STATUS = ProtoExpert.new("cardbench.hop.bad_status", "Status word not of the hop", expert.group.PROTOCOL, expert.severity.WARN)
local HOP_REPEATED = ProtoExpert.new("cardbench.hop.repeated", "Segment sent again", expert.group.SEQUENCE, expert.severity.NOTE)
hop_proto.experts = { HOP_MALFORMED, HOP_STATUS, HOP_REPEATED }
local CHAIN_MALFORMED = malformed(chain_proto, "cardbench.chain")
local CHANNEL_MALFORMED = malformed(channel_proto, "cardbench.channel")

local comment_of = Field.new("frame.comment")
local interface_of = Field.new("frame.interface_name")
local pdu_of = Field.new("exported_pdu.exported_pdu")
local dissector_of = Field.new("exported_pdu.prot_name")
local direction_of = Field.new("exported_pdu.p2p_dir")

local function hexadecimal(range)
    return range:bytes():tohex(true)
end

-- Chain: control packets (sections 2 and 5) ---------------------------------------------------------------------------------------------------------

local function mtu_of(tree, range)
    local mtu = range:uint()
    tree:add(CHAIN.mtu, range)
    if mtu < 32 or mtu > 1500 then return string.format("an MTU of %d bytes: must be 32 to 1500", mtu) end
end

local function facts(tvb, tree, at, what)
    local length = tvb:len() - at
    if length < 5 or length > 21 then return string.format("%s: 5 to 21 bytes of node, MTU, channels, ports and identity, not %d", what, length) end
    tree:add(CHAIN.node, tvb(at, 1))
    local wrong = mtu_of(tree, tvb(at + 1, 2))
    tree:add(CHAIN.channels, tvb(at + 3, 1))
    tree:add(CHAIN.ports, tvb(at + 4, 1))
    if length > 5 then tree:add(CHAIN.identity, tvb(at + 5)) end
    return wrong
end

local function host_ipv4(range)
    local first = range(0, 1):uint()
    return first ~= 0 and first ~= 127 and first < 224
end

local function zero(range)
    return hexadecimal(range):match("^0+$") ~= nil
end

local function one_host(range)
    if range:len() == 4 then return host_ipv4(range) end
    return range(0, 1):uint() ~= 0xFF and hexadecimal(range):match("^0+[01]$") == nil
end

-- Whether an address has bits set beyond a prefix's length.
local function bits_beyond(range, length)
    for place = math.floor(length / 8), range:len() - 1 do
        local kept = math.max(0, length - 8 * place)
        if range(place, 1):uint() % 2 ^ (8 - kept) ~= 0 then return true end
    end
    return false
end

local function prefix(tvb, tree)
    local size = tvb:len() - 2
    if size ~= 4 and size ~= 16 then return string.format("PREFIX of %d bytes: must be 6 or 18", tvb:len()) end
    local length, address = tvb(1, 1):uint(), tvb(2)
    tree:add(CHAIN.prefix_length, tvb(1, 1))
    tree:add(size == 4 and CHAIN.prefix_ipv4 or CHAIN.prefix_ipv6, address)
    local longest = size == 4 and 24 or 120
    if length > longest then return string.format("a prefix of %d bits: at most %d leave room for the cards", length, longest) end
    if bits_beyond(address, length) then return "bits beyond the prefix's length are set" end
    if length > 0 and (size == 4 and not host_ipv4(address) or size == 16 and address(0, 1):uint() == 0xFF) then
        return "a prefix that names no hosts"
    end
end

local function granted(tvb, tree, kind)
    if tvb:len() < 5 then return string.format("%s of %d bytes: node, deed and reason come before the address or the name", CONTROL[kind], tvb:len()) end
    local node, deed = tvb(1, 1):uint(), tvb(2, 1):uint()
    tree:add(CHAIN.node, tvb(1, 1))
    tree:add(CHAIN.deed, tvb(2, 1))
    tree:add(CHAIN.refusal, tvb(3, 1))
    local rest = tvb(4)
    if kind == 7 then
        tree:add(CHAIN.name, rest)
    elseif rest:len() == 4 then
        tree:add(CHAIN.ipv4, rest)
    elseif rest:len() == 16 then
        tree:add(CHAIN.ipv6, rest)
    end
    if node < 1 or node > 254 then return string.format("node %d: cards are 1 to 254", node) end
    if deed > 3 then return string.format("deed %d: 0 to 3 are assigned", deed) end
    if kind == 7 then
        local raw = rest:raw()
        if #raw > 63 or not (raw:match("^[a-z0-9][a-z0-9-]*[a-z0-9]$") or raw:match("^[a-z0-9]$")) then return "no label of RFC 1123" end
        return
    end
    if rest:len() ~= 4 and rest:len() ~= 16 then return string.format("an address of %d bytes", rest:len()) end
    if not one_host(rest) and not (zero(rest) and (deed == 0 or deed == 2)) then return "an address that names no single host" end
end

local function control(tvb, tree)
    if tvb:len() == 0 then return "an empty control packet: its first byte must be the type" end
    local kind, length = tvb(0, 1):uint(), tvb:len()
    tree:add(CHAIN.type, tvb(0, 1))
    if kind == 1 then
        if length ~= 7 then return string.format("HELLO of %d bytes: must be 7", length) end
        tree:add(CHAIN.version, tvb(1, 1))
        tree:add(CHAIN.node, tvb(2, 1))
        local wrong = mtu_of(tree, tvb(3, 2))
        tree:add(CHAIN.poll_ms, tvb(5, 2))
        return wrong
    elseif kind == 2 then
        if length < 2 then return "HELLO ANSWER without a version" end
        tree:add(CHAIN.version, tvb(1, 1))
        return facts(tvb, tree, 2, "HELLO ANSWER")
    elseif kind == 3 then
        return facts(tvb, tree, 1, "NODE UP")
    elseif kind == 4 then
        if length ~= 3 then return string.format("NODE DOWN of %d bytes: must be 3", length) end
        tree:add(CHAIN.node, tvb(1, 1))
        tree:add(CHAIN.reason, tvb(2, 1))
        return
    elseif kind == 5 then
        return prefix(tvb, tree)
    elseif kind == 6 or kind == 7 then
        return granted(tvb, tree, kind)
    end
    return string.format("control packet of type %02X: types 01 to 07 are assigned", kind)
end

function chain_proto.dissector(tvb, pinfo, root)
    local tree = root:add(chain_proto, tvb())
    local wrong = control(tvb, tree)
    local kind = tvb:len() > 0 and tvb(0, 1):uint()
    local said = kind and CONTROL[kind] or "control packet"
    if kind and kind <= 4 and tvb:len() >= 3 then
        said = string.format("%s, node %d", said, tvb(kind <= 2 and 2 or 1, 1):uint())
    elseif kind and (kind == 6 or kind == 7) and tvb:len() >= 5 then
        said = string.format("%s %s, node %d", said, DEEDS[tvb(2, 1):uint()] or "?", tvb(1, 1):uint())
    end
    if wrong then tree:add_proto_expert_info(CHAIN_MALFORMED, wrong) end
    tree:append_text(": " .. said)
    pinfo.cols.protocol = "IPC CHAIN"
    pinfo.cols.info = wrong and said .. " [" .. wrong .. "]" or said
    return tvb:len()
end

-- Channel messages (section 3) ----------------------------------------------------------------------------------------------------------------------

local function open(tvb, tree)
    local length = tvb:len() - 5
    if length < 7 then return string.format("OPEN with a body of %d bytes: must be at least 7", length) end
    local transport, kind = tvb(6, 1):uint(), tvb(11, 1):uint()
    tree:add(CHANNEL.own, tvb(5, 1))
    tree:add(CHANNEL.transport, tvb(6, 1))
    tree:add(CHANNEL.port, tvb(7, 2))
    tree:add(CHANNEL.mtu, tvb(9, 2))
    tree:add(CHANNEL.address_kind, tvb(11, 1))
    local size = length - 7
    if not TRANSPORTS[transport] then return string.format("OPEN: transport %02X is not assigned", transport) end
    if not ADDRESS_KINDS[kind] then return string.format("OPEN: address kind %d is not assigned", kind) end
    if kind == 1 then
        local raw = size > 0 and tvb(12):raw() or ""
        if size > 0 then tree:add(CHANNEL.name, tvb(12)) end
        if not raw:match("^[\33-\126]+$") then return "OPEN: a name must be printable ASCII without blanks" end
        return
    end
    local wanted = kind == 4 and 4 or kind == 6 and 16 or 0
    if size ~= wanted then return string.format("OPEN: an address of %d bytes where %s has %d", size, ADDRESS_KINDS[kind], wanted) end
    if kind == 4 then tree:add(CHANNEL.ipv4, tvb(12)) elseif kind == 6 then tree:add(CHANNEL.ipv6, tvb(12)) end
end

local function body(tvb, tree, kind)
    local length = tvb:len() - 5
    if kind == 1 then return open(tvb, tree) end
    if kind == 2 then
        if length ~= 5 then return string.format("OPENED with a body of %d bytes: must be 5", length) end
        tree:add(CHANNEL.own, tvb(5, 1))
        tree:add(CHANNEL.port, tvb(6, 2))
        tree:add(CHANNEL.mtu, tvb(8, 2))
    elseif kind == 3 or kind == 7 then
        if length ~= 1 then return string.format("%s with a body of %d bytes: must be one, the cause", MESSAGES[kind], length) end
        tree:add(CHANNEL.cause, tvb(5, 1))
    elseif (kind == 5 or kind == 6) and length > 0 then
        return string.format("%s with a body of %d bytes: must be empty", MESSAGES[kind], length)
    end
end

local function message(tvb, tree)
    local length = tvb:len()
    if length < 5 then return nil, string.format("a channel message of %d bytes: the header alone has 5", length) end
    local version, kind = tvb(0, 1):bitfield(0, 2), tvb(0, 1):bitfield(4, 4)
    local weight = WEIGHTS[tvb(0, 1):bitfield(2, 2)]
    tree:add(CHANNEL.version, tvb(0, 1))
    tree:add(CHANNEL.weight, tvb(0, 1), weight)
    tree:add(CHANNEL.type, tvb(0, 1))
    tree:add(CHANNEL.destination, tvb(1, 1))
    tree:add(CHANNEL.source, tvb(2, 1))
    tree:add(CHANNEL.number, tvb(3, 1))
    tree:add(CHANNEL.credit, tvb(4, 1))
    if length > 5 then tree:add(CHANNEL.body, tvb(5)) end
    tree:add(CHANNEL.length, tvb(), length - 5):set_generated()
    local said = string.format("%s  %d → %d  channel %d", MESSAGES[kind] or "?", tvb(2, 1):uint(), tvb(1, 1):uint(), tvb(3, 1):uint())
    if tvb(4, 1):uint() > 0 then said = string.format("%s, credit %d", said, tvb(4, 1):uint()) end
    if kind == 4 then said = string.format("%s, %d bytes", said, length - 5) end
    if version ~= 1 then return said, string.format("channel message of version %d: this is version 1", version) end
    if not MESSAGES[kind] then return said, string.format("channel message of type %d: types 1 to 8 are assigned", kind) end
    return said, body(tvb, tree, kind)
end

function channel_proto.dissector(tvb, pinfo, root)
    local tree = root:add(channel_proto, tvb())
    local said, wrong = message(tvb, tree)
    said = said or "channel message"
    if wrong then tree:add_proto_expert_info(CHANNEL_MALFORMED, wrong) end
    tree:append_text(": " .. said)
    pinfo.cols.protocol = "IPC CHANNEL"
    if tvb:len() >= 3 then
        pinfo.cols.src, pinfo.cols.dst = string.format("node %d", tvb(2, 1):uint()), string.format("node %d", tvb(1, 1):uint())
    end
    pinfo.cols.info = wrong and said .. " [" .. wrong .. "]" or said
    return tvb:len()
end

-- Hop (section 1) -----------------------------------------------------------------------------------------------------------------------------------

-- What the first pass over the packets found out: by frame, and by line while it goes on.
local frames, lines = {}, {}

local function segment(range, tree)
    local header = range(0, 1)
    local part = tree:add(HOP.segment, range)
    part:add(HOP.first, header)
    part:add(HOP.last, header)
    part:add(HOP.toggle, header)
    part:add(HOP.reserved, header)
    part:add(HOP.kind, header)
    if range:len() > 1 then part:add(HOP.payload, range(1)) end
    part:add(HOP.length, range, range:len() - 1):set_generated()
    local kind = KINDS[header:bitfield(4, 4)]
    local said = string.format(
        "%s %s%s S=%d, %d bytes", kind or "?", header:bitfield(0, 1) == 1 and "F" or "-", header:bitfield(1, 1) == 1 and "L" or "-",
        header:bitfield(2, 1), range:len() - 1
    )
    if not kind then return said, string.format("segment header %02X: kind %d is not assigned", header:uint(), header:bitfield(4, 4)) end
    if header:bitfield(3, 1) == 1 then return said, string.format("segment header %02X: b5 is reserved and must be 0", header:uint()) end
    return said
end

local function command(range, tree)
    local p1 = range(2, 1)
    local instruction, length = range(1, 1):uint(), range:len()
    tree:add(HOP.instruction, range(1, 1))
    tree:add(HOP.sequenced, p1)
    tree:add(HOP.explicit, p1)
    tree:add(HOP.expect, p1)
    if instruction == GET_RESPONSE then
        if length ~= 5 then return "GET RESPONSE", string.format("GET RESPONSE of %d bytes: must be 5", length) end
        local le, plain = range(4, 1):uint(), p1:bitfield(0, 1) == 0
        tree:add(HOP.le, range(4, 1))
        if plain then
            tree:add(HOP.plain, p1, true):set_generated()
            return string.format("plain fetch of %d", le)
        end
        if le == 0 then
            tree:add(HOP.poll, range(4, 1), true):set_generated()
            return "poll"
        end
        return string.format("fetch of %d", le)
    end
    if length < 5 or range(4, 1):uint() == 0 or length == 5 then return "ENVELOPE", "ENVELOPE without a segment" end
    local lc = range(4, 1):uint()
    if length ~= 5 + lc and length ~= 6 + lc then return "ENVELOPE", string.format("ENVELOPE of %d bytes where Lc is %d", length, lc) end
    if length == 6 + lc then tree:add(HOP.le, range(5 + lc, 1)) end
    local said, wrong = segment(range(5, lc), tree)
    return "ENVELOPE " .. said, wrong
end

local function meaning(sw)
    if STATUS[sw] then return STATUS[sw] end
    local high, low = math.floor(sw / 256), sw % 256
    if sw == 0x9000 then return "done" end
    if high == 0x61 then return string.format("a segment of %d bytes waits", low == 0 and 256 or low) end
    if high == 0x6C then return string.format("ask again for %d bytes", low == 0 and 256 or low) end
end

local function answer(range, tree)
    local length = range:len()
    if length < 2 then return "answer", string.format("an answer of %d bytes: a status word has 2", length) end
    local said, wrong = "answer"
    if length > 2 then
        said, wrong = segment(range(0, length - 2), tree)
        said = "answer " .. said
    end
    local sw = range(length - 2, 2):uint()
    local means = meaning(sw)
    tree:add(HOP.sw, range(length - 2, 2))
    tree:add(HOP.meaning, range(length - 2, 2), means or "an error of the card"):set_generated()
    if not means then tree:add_proto_expert_info(HOP_STATUS, string.format("status word %04X is not one of the hop's", sw)) end
    return string.format("%s, %04X %s", said, sw, means or "?"), wrong
end

local function toggle_of(range, sent)
    if sent then
        return range:len() > 5 and range(1, 1):uint() == ENVELOPE and range(5, 1):bitfield(2, 1) or nil
    end
    return range:len() > 2 and range(0, 1):bitfield(2, 1) or nil
end

-- First pass: which packets are the hop's, which command an answer belongs to, which segments were sent again.
local function look(number, line, range, sent)
    local state = lines[line]
    if not state then
        state = {}
        lines[line] = state
    end
    local seen = {}
    if sent then
        local is_hop = false
        if range:len() >= 4 then
            local class, instruction = range(0, 1):uint(), range(1, 1):uint()
            local plain = instruction == GET_RESPONSE and range(2, 1):uint() == 0
            -- a reader fetches by itself, with class 00 or the class of the command, what a hop command's 61xx announced
            if plain then
                is_hop = state.announced and (class == 0 or class == hop_proto.prefs.class)
            else
                is_hop = class == hop_proto.prefs.class and (instruction == ENVELOPE or instruction == GET_RESPONSE)
            end
        end
        seen.hop = is_hop
        state.command, state.announced = is_hop and number or nil, false
    elseif state.command then
        seen.hop, seen.command_in = true, state.command
        state.announced = range:len() >= 2 and range(range:len() - 2, 1):uint() == 0x61
        state.command = nil
    elseif range:len() >= 2 and (range(0, 1):uint() == 0x3B or range(0, 1):uint() == 0x3F) then
        state.to_card, state.from_card, state.announced = nil, nil, false -- an answer to reset: toggles begin anew
    end
    if sent and seen.hop and range:len() >= 7 and range(1, 1):uint() == ENVELOPE
        and range(5, 1):bitfield(0, 1) == 1 and range(5, 1):bitfield(2, 5) == 0 and range(6, 1):uint() == 1 then
        state.to_card, state.from_card = nil, nil -- HELLO at toggle 0: what comes first after a reset, whose answer may not be in the capture
    end
    if seen.hop then
        local toggle = toggle_of(range, sent)
        local way = sent and "to_card" or "from_card"
        if toggle then
            seen.repetition = state[way] == toggle
            state[way] = toggle
        end
    end
    frames[number] = seen
    return seen
end

local function hop(pinfo, root, point, interface)
    local pdu, dissector, direction = pdu_of(), dissector_of(), direction_of()
    if not (pdu and dissector and direction) then return end
    local range, sent = pdu.range, direction.value == 0
    if range:len() == 0 then return end
    local seen = frames[pinfo.number]
    if not seen then seen = look(pinfo.number, point .. " " .. interface, range, sent) end
    if not seen.hop then return end
    local tree = root:add(hop_proto, range)
    local said, wrong = (sent and command or answer)(range, tree)
    if seen.command_in then tree:add(HOP.command_in, seen.command_in):set_generated() end
    if seen.repetition then
        tree:add(HOP.repetition, true):set_generated()
        tree:add_proto_expert_info(HOP_REPEATED)
        said = said .. ", again"
    end
    if wrong then tree:add_proto_expert_info(HOP_MALFORMED, wrong) end
    tree:append_text(": " .. said)
    pinfo.cols.protocol = "IPC HOP"
    pinfo.cols.info = wrong and said .. " [" .. wrong .. "]" or said
end

-- Every packet: the scenario, point and step that its comment names, and the hop that its interface does --------------------------------------------

function base_proto.init()
    frames, lines = {}, {}
end

function base_proto.dissector(_, pinfo, root)
    local comment, interface = comment_of(), interface_of()
    local said, named = comment and comment.value or "", interface and interface.value or ""
    local scenario, point, rest = said:match("^(%S+)::(%S+)(.*)$")
    if not scenario then return end
    point = point:gsub(",$", "")
    local tree = root:add(base_proto)
    tree:append_text(": " .. said)
    tree:add(STEP.scenario, scenario):set_generated()
    tree:add(STEP.point, point):set_generated()
    local step, verb = rest:match("^ step (%d+) ([%w_]+)")
    if step then
        tree:add(STEP.step, tonumber(step)):set_generated()
        tree:add(STEP.verb, verb):set_generated()
    end
    local line = named:match("^hop (%d+) ")
    if line then tree:add(STEP.line, tonumber(line)):set_generated() end
    hop(pinfo, root, scenario .. "::" .. point, named)
end

local by_link_type = DissectorTable.get("wtap_encap")
by_link_type:add(USER0, chain_proto)
by_link_type:add(USER1, channel_proto)
register_postdissector(base_proto)
