(* techmap_celltype = "CCU2" *)
module first_carry (input CIN, A0, B0, C0, D0, A1, B1, C1, D1, output S0, S1, COUT);
    parameter INJECT = "YES";
    parameter INIT0 = "0x0000";
    parameter INIT1 = "0x1111";
    parameter _TECHMAP_CONSTMSK_CIN_ = 0;
    wire _TECHMAP_FAIL_ = !_TECHMAP_CONSTMSK_CIN_ || INIT0 != "0xFFFF" || INIT1 != "0x00AA";
    CCU2 #(.INJECT(INJECT), .INIT0(INIT0), .INIT1(INIT1)) _TECHMAP_REPLACE_ (
        .A0(A0), .B0(B0), .C0(C0), .D0(D0), .A1(A1), .B1(B1), .C1(C1), .D1(D1), .S0(S0), .S1(S1), .COUT(COUT)
    );
endmodule
