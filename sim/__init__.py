"""Generated Verilog through HDL simulators: drivers, monitors, scoreboard, and what starts them."""
