"""A player script in the shape that yt-dlp-ejs takes apart, written by hand: its n challenge is solved by turning it round."""

from __future__ import annotations

PLAYER = r"""var _yt_player={};(function(g){
var sts={signatureTimestamp:20700};
var P=function(u,sp,s){this.m={};if(sp&&s)this.m[sp]=encodeURIComponent(decodeURIComponent(s).split('').reverse().join(''))};
P.prototype.set=function(k,v){this.m[k]=v};P.prototype.get=function(k){return this.m[k]};P.prototype.clone=function(){return this};
P.prototype.tr=function(){this.m.n='OK'+this.m.n.split('').reverse().join('')};
g.W=function(a,b,c){var d=new P(a,b,c);d.set('alr','yes');return d};
})(_yt_player);
"""


def solved(challenge: str) -> str:
    """What the script makes of an n challenge."""
    return "OK" + challenge[::-1]
