"""Yosys and nextpnr: from Verilog to area and clock."""
